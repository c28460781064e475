"""The command line from outside: exit codes, nearest names, what stands on stdout and what on stderr."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from fleet.cli import program
from fleet.errors import InventoryError

ROOT = Path(__file__).resolve().parents[3]


def inv(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        [sys.executable, "-m", "fleet", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["provison"], "did you mean provision?"),
        (["plan", "--hots", "x"], "did you mean --hosts?"),
        (["plan", "--hosts"], "--help"),
        (["plan", "--forks", "many"], "forks"),
        (["plan", "--timeout", "soon"], "timeout"),
        (["plan", "--forks"], "--forks needs a value"),
        (["plan", "--forks", "0"], "--forks"),
        (["plan", "--timeout", "-3"], "--timeout"),
        (["plan", "--inventory"], "--inventory needs a value"),
        (["plan", "--inventory", "--limit", "h1"], "--inventory needs a value"),
        (["plan", "--inventory", ""], "--inventory needs a value"),
        (["--dry", "plan"], "--dry"),
        (["-f", "/not/there", "plan"], "-f"),
        (["secret.encrypt"], "FILE is missing"),
    ],
)
def test_wrong_use_ends_with_2_and_the_nearest_right_name(words: list[str], hint: str) -> None:
    done = inv(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words", [["rollback", "--to", "x"], ["facts", "--hosts"], ["--dry", "facts"], ["size", "--count", "x"]]
)
def test_wrong_use_is_an_object_too_where_json_is_asked_for(words: list[str]) -> None:
    done = inv(*words, "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["kind"]) == (2, "UsageError")


@pytest.mark.parametrize("words", [["secret.rekey", "--help"], ["secret.encrypt", "-h"], ["--help", "secret.rekey"]])
def test_help_is_help_also_of_a_verb_that_takes_a_file(words: list[str]) -> None:
    done = inv(*words)
    assert (done.returncode, done.stdout.startswith("Usage:")) == (0, True)
    assert "./inv secret." in done.stdout


def test_an_inventory_without_a_name_runs_nothing_of_the_working_directory(tmp_path: Path) -> None:
    program_ = tmp_path / "probe.sh"
    program_.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho '{{}}'\n")
    program_.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "fleet", "inventory", "--inventory", ""]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, (tmp_path / "ran").exists()) == (2, False)


def test_options_of_invoke_that_mean_nothing_here_are_not_offered() -> None:
    assert "--dry" not in inv("--help").stdout


def test_help_shows_every_option_and_an_example() -> None:
    done = inv("plan", "--help")
    assert done.returncode == 0
    assert "Example: ./inv plan" in done.stdout
    assert "--detailed-exitcode" in done.stdout


@pytest.mark.parametrize("words", [["--list"], ["--help"], ["--version"]])
def test_what_only_tells_ends_with_0(words: list[str]) -> None:
    assert inv(*words).returncode == 0


def test_a_missing_inventory_is_words_on_stderr_and_an_object_on_stdout() -> None:
    done = inv("plan", "--inventory", "/not/there.yml", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "InventoryError"
    assert "/not/there.yml" in done.stderr


def test_a_pattern_without_a_match_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {hosts: {h1: {ansible_host: 127.0.0.1}}}\n")
    done = inv("plan", "--inventory", str(tmp_path / "hosts.yml"), "--hosts", "h9", FLEET_HOME=str(tmp_path / "home"))
    assert done.returncode == 2
    assert "no host matches 'h9'" in done.stderr
    assert "h1" in done.stderr


def test_bare_invoke_runs_the_same_verbs() -> None:
    invoke = Path(sys.executable).with_name("invoke")
    if not invoke.exists():
        pytest.skip("invoke's own program isn't beside this interpreter")
    done = subprocess.run([invoke, "plan", "-h"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "Example: ./inv plan" in done.stdout) == (0, True)


def test_ctrl_c_ends_with_130() -> None:
    @program.verb()
    def pressed(c: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Exit) as ended:
        pressed.body(None)
    assert ended.value.code == 130


def test_an_error_ends_with_its_code_by_whatever_program_it_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    @program.verb()
    def fails(c: object, json: bool = False) -> None:
        raise InventoryError("broken", where="a.yml:3", hint="mend it")

    with pytest.raises(Exit) as ended:
        fails.body(None, json=True)
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert json.loads(said.out) == {
        "error": {"kind": "InventoryError", "message": "broken", "where": "a.yml:3", "hint": "mend it"}
    }
    assert "a.yml:3: broken\n  → mend it" in said.err


# -- the launcher ---


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    """``inv`` and its locks in a directory of their own, so that no environment is made here."""
    for name in ("inv", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_an_interpreter_without_venv_is_told_how_to_get_it(launcher: Path) -> None:
    bare = launcher / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    done = subprocess.run(
        [launcher / "inv", "plan"], env={**os.environ, "PYTHON": str(bare)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "apt-get install python3-venv" in done.stderr
    assert not (launcher / ".venv").exists()


def test_no_python_at_all_is_told_too(launcher: Path) -> None:
    tools = launcher / "bin"
    tools.mkdir()
    for tool in ("dirname", "cksum", "cat", "grep"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    env = {"PATH": str(tools)}
    done = subprocess.run(["/bin/sh", launcher / "inv"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no Python 3.10 to 3.13 found" in done.stderr


def test_help_of_test_installs_nothing(launcher: Path) -> None:
    python = launcher / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    lock = (launcher / "requirements.lock").read_bytes()
    stamp = subprocess.run(["cksum"], input=lock, capture_output=True, check=True).stdout
    (launcher / ".venv" / ".installed").write_bytes(stamp)
    env = {**os.environ, "PYTHON": "/bin/false"}
    env.pop("FLEET_VENV", None)
    for words in (["test", "--help"], ["test", "--only", "x", "-h"]):
        done = subprocess.run([launcher / "inv", *words], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.split()) == (0, ["-m", "fleet", *words]), done.stderr
    assert subprocess.run([launcher / "inv", "test"], env=env, capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize("words", [["--list"], ["plan", "--help"], ["hardware", "--model", "m", "--json"]])
def test_a_full_disk_under_stdout_is_said_and_is_no_traceback(words: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fleet", *words], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "FLEET_HOME": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode
    assert "can't be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_broken_file_of_invokes_own_settings_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / ".invoke.yaml").write_text("a: [b\n")
    done = inv("--list", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
