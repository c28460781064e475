from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fleet.apply import take
from fleet.errors import CommandFailed
from fleet.resource import Run
from fleet.secret import Secret
from fleet.shell import quote, words, write_file
from fleet.transport.fake import FakeTransport
from fleet.transport.local import LocalTransport


@pytest.fixture(params=[("dash",), ("bash",), ("busybox", "sh")], ids=" ".join)
def host(request: pytest.FixtureRequest) -> LocalTransport:
    shell: tuple[str, ...] = request.param
    if not shutil.which(shell[0]):
        pytest.skip(f"{shell[0]} isn't installed here")
    return LocalTransport(shell=shell)


def script_for(path: Path, mode: int = 0o644) -> str:
    return write_file(str(path), mode=mode, owner=str(os.getuid()), group=str(os.getgid()))


def test_a_file_is_written_with_its_mode_and_the_old_one_is_kept(host: LocalTransport, tmp_path: Path) -> None:
    path = tmp_path / "it's new" / "x y.conf"
    assert host.run(script_for(path, 0o640), b"one\0\xff").ok
    assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (b"one\0\xff", 0o640)
    assert host.run(script_for(path, 0o600), b"two").ok
    old = path.with_name("x y.conf.fleet-old")
    assert (path.read_bytes(), old.read_bytes()) == (b"two", b"one\0\xff")
    assert old.stat().st_mode & 0o7777 == 0o640
    assert path.stat().st_mode & 0o7777 == 0o600
    assert host.run(script_for(path, 0o600), b"two").ok
    assert old.read_bytes() == b"one\0\xff", "the same content again is no new version"
    assert sorted(p.name for p in path.parent.iterdir()) == ["x y.conf", "x y.conf.fleet-old"]


def test_an_owner_that_is_not_there_changes_nothing(host: LocalTransport, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    assert not host.run(write_file(str(tmp_path / "f"), owner="nobody-of-this-name"), b"new").ok
    assert (tmp_path / "f").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_content_that_was_cut_off_on_its_way_is_not_put_in_place(host: LocalTransport, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    reply = host.run("stdin_size=10\n" + script_for(tmp_path / "f"), b"only 6")
    assert not reply.ok
    assert "cut off" in reply.stderr
    assert (tmp_path / "f").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("content", [b"12345", Secret("12€")])
def test_each_step_says_how_long_its_input_is(content: bytes | Secret) -> None:
    fake = FakeTransport(answers=[("", "")])
    take(fake, Run("cat", stdin=content), print)
    assert "\nstdin_size=5\n" in fake.asked[0][0]


def test_a_write_killed_at_any_point_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path, old, new = tmp_path / "f", b"old" * 1000, b"new" * 700_000
    seen = set()
    for after in (0.0, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.03, 0.06):
        path.write_bytes(old)
        with subprocess.Popen(["sh", "-c", script_for(path)], stdin=subprocess.PIPE, start_new_session=True) as writer:
            assert writer.stdin is not None
            half = len(new) // 2 if after < 0.005 else len(new)
            try:
                writer.stdin.write(new[:half])
                if half == len(new):
                    writer.stdin.close()
                time.sleep(after)
                os.killpg(writer.pid, signal.SIGKILL)
                writer.stdin.close()
            except (BrokenPipeError, ProcessLookupError):
                pass
        assert path.read_bytes() in (old, new)
        seen.add(path.read_bytes() == new)
    assert False in seen, "at least one was killed in time"
    assert subprocess.run(["sh", "-c", script_for(path)], input=new, check=False).returncode == 0
    assert not [p for p in tmp_path.iterdir() if ".fleet-new" in p.name], "what killed ones left is cleared away"


def test_words_come_out_of_the_shell_as_they_went_in() -> None:
    parts = ["a b", "it's", '"', "$HOME", "*", "", "-n", "ü\n"]
    assert LocalTransport().run("printf '%s|' " + words(*parts)).stdout == "".join(f"{p}|" for p in parts)
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


def test_a_step_that_fails_shows_its_last_words() -> None:
    with pytest.raises(CommandFailed) as failed:
        take(LocalTransport("h1"), Run("for i in $(seq 50); do echo line $i >&2; done; exit 9", what="counting"), print)
    assert failed.value.message == "counting ended with 9"
    assert failed.value.stderr.splitlines()[-1] == "line 50"
    assert len(failed.value.stderr.splitlines()) == 12
