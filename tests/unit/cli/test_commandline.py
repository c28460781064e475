"""What Invoke would take silently is refused, and its complaints are said in our words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import ParseError
from invoke.tasks import task

import tasks
from fleet.cli import commandline
from fleet.cli.program import Program
from fleet.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]


@task(iterable=["inventory"], auto_shortflags=False)
def show(c: Context, inventory: list[str] | None = None, hosts: str = "", forks: int = 1, yes: bool = False) -> None:
    """A verb with options."""


@task(positional=["file"], iterable=["also"], auto_shortflags=False)
def seal(c: Context, file: str, also: list[str] | None = None, name: str = "", dry_run: bool = False) -> None:
    """A verb with a file."""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """All verbs, with an inventory of nobody and a home of their own."""
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / ".fleet"))
    (tmp_path / "hosts.yml").write_text("all: {hosts: {}}\n")
    monkeypatch.setenv("FLEET_INVENTORY", str(tmp_path / "hosts.yml"))
    return Program(name="inv", binary="inv", binary_names=["inv"], version="0", namespace=tasks.namespace)


CONTEXTS = Collection(show, seal).to_contexts()


def inv(*words: str, cwd: Path = ROOT, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-m", "fleet", *words],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("show --inventory", "--inventory"),
        ("show --inventory --hosts a", "--inventory"),
        ("show --inventory a --inventory --hosts=a", "--inventory"),
        ("show --forks --yes", "--forks"),
        ("seal f --also -- x", "--also"),
        ("show --yes seal f --name", "--name"),
    ],
)
def test_an_option_without_its_value_is_refused(words: str, option: str) -> None:
    with pytest.raises(UsageError, match=f"^{option} needs a value"):
        commandline.refuse_silent(words.split(), CONTEXTS)


@pytest.mark.parametrize(
    "words",
    [
        "show --inventory a --inventory b --hosts=a --forks 3 --yes",
        "show --hosts= --yes",
        "show --hosts --strange",  # a value may look like an option that isn't one of the verb's
        "seal show --also show",  # a file named like a verb
        "seal - --name a",
    ],
)
def test_whole_command_lines_pass(words: str) -> None:
    commandline.refuse_silent(words.split(), CONTEXTS)


def test_a_misspelt_option_is_never_taken_for_the_file() -> None:
    with pytest.raises(ParseError) as refused:
        commandline.refuse_silent(["seal", "--nme", "x"], CONTEXTS)
    assert commandline.in_words(refused.value, CONTEXTS).hint == "did you mean --name?"


@pytest.mark.parametrize(
    ("words", "becomes"),
    [
        ("seal --help", "--help seal"),
        ("seal f -h", "--help seal"),
        ("seal f -- -h", "seal f -- -h"),
        ("--help seal", "--help seal"),
    ],
)
def test_help_after_a_verb_is_help_of_that_verb(words: str, becomes: str) -> None:
    assert commandline.help_asked(words.split(), {"show", "seal"}) == becomes.split()


# -- the whole program ---


def test_help_of_a_verb_with_a_file_asks_for_no_password() -> None:
    done = inv("secret.rekey", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Give encrypted files another password" in done.stdout


@pytest.mark.parametrize("words", ["--dry quarantine --hosts all --why x", "-R plan", "provision --dry-run"])
def test_a_dry_run_that_there_isn_t_is_refused_and_plan_named(words: str) -> None:
    done = inv(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "./inv plan" in done.stderr


@pytest.mark.parametrize(
    "words", ["-f /nofile facts", "-f README.md inventory", "-F foo --list", "--prompt-for-sudo-password inventory"]
)
def test_invoke_s_own_options_that_do_nothing_here_are_unknown(words: str) -> None:
    done = inv(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_list_of_verbs_that_aren_t_there_ends_with_2() -> None:
    done = inv("--list=nosuch")
    assert done.returncode == 2
    assert "gateway, hooks, inventory" in done.stderr
    assert inv("--list=lab").returncode == 0


def test_an_empty_inventory_is_refused_and_nothing_of_the_working_directory_is_run(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was-run'}\necho '{{}}'\n")
    program.chmod(0o755)
    done = inv("inventory", "--inventory", "", cwd=tmp_path)
    assert (done.returncode, "--inventory needs a value" in done.stderr) == (2, True)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rollback --to x --json", "'x' is no number"),
        ("facts --hosts --json", "--hosts needs a value"),
        ("secret.decrypt F --json", "there is no option '--json' of secret.decrypt"),
        ("facst --json", "there is no verb 'facst'"),
    ],
)
def test_with_json_wrong_use_is_an_object_on_stdout_too(words: str, message: str) -> None:
    done = inv(*words.split())
    assert done.returncode == 2
    assert message in json.loads(done.stdout)["error"]["message"]
    assert message in done.stderr


def test_what_is_missing_is_named_in_plain_words() -> None:
    assert "--forks needs a value" in inv("plan", "--forks").stderr
    assert "FILE is missing" in inv("secret.encrypt").stderr


def test_ctrl_c_while_modules_are_being_read_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "invoke.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = inv("plan", path=f"{tmp_path}{os.pathsep}{ROOT}")
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "ended by Ctrl-C")


@pytest.mark.parametrize(
    "words",
    [
        "facts --timeout -3", "facts --timeout 0", "facts --timeout nan", "facts --forks 0", "facts --forks -1",
        "trust --timeout -1", "history --last -5", "history --last 0", "rollback --to -1",
        "rollout --same-answers 500%", "rollback --same-answers=-1", "rollout --same-answers some",
        "size --model m --gpu T4 --total-gib -5", "size --model m --gpu T4 --host-memory-gib -1",
        "size --hosts all --forks 0", "hardware --model Qwen/Qwen2.5-VL-7B-Instruct --rate nan",
    ],
)  # fmt: skip
def test_numbers_that_can_t_be_are_wrong_use(words: str, program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.run(["inv", *words.split()])
    option = next(word for word in reversed(words.split()) if word.startswith("--")).partition("=")[0]
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert option in told.err.splitlines()[0]
    assert "→" in told.err
