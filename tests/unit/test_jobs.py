"""Jobs against a systemd of three lines: a unit is a file with a process id, ``systemd-run`` starts one."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from fleet import jobs, shell
from fleet.errors import CommandFailed, HostError
from fleet.resource import Job
from fleet.secret import Secret
from fleet.transport.local import LocalTransport

_RUN = """#!/bin/sh
[ ! -e {root}/broken ] || {{ echo "Failed to connect to bus" >&2; exit 1; }}
while [ $# -gt 0 ]; do case $1 in
  --unit=*) unit=${{1#*=}}; shift;; --setenv=*) export "${{1#*=}}"; shift;; --*) shift;; *) break;; esac; done
echo "$unit" >> {root}/started
setsid "$@" </dev/null >/dev/null 2>&1 & echo $! > {root}/units/$unit
"""
_CTL = """#!/bin/sh
[ "$1" = is-active ] || exit 0
if kill -0 "$(cat {root}/units/$2 2>/dev/null)" 2>/dev/null; then echo active; else echo inactive; exit 3; fi
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("systemd-run", _RUN), ("systemctl", _CTL)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text.format(root=tmp_path))
        program.chmod(0o755)
    (tmp_path / "units").mkdir()
    monkeypatch.setattr(jobs, "PREAMBLE", f"{shell.PREAMBLE}; PATH={tmp_path}/bin:$PATH")
    monkeypatch.setattr(jobs, "JOBS", str(tmp_path / "jobs"))
    return tmp_path


def starts(root: Path) -> int:
    return len((root / "started").read_text().splitlines())


def test_a_job_has_its_files_shows_its_progress_and_leaves_nothing(root: Path) -> None:
    said: list[str] = []
    script = 'cat "$JOB/token"; echo; echo "progress: half"; stat -c %a "$JOB" "$JOB/token"; echo end'
    end = jobs.run(LocalTransport(), Job("a", script, "a job", {"token": Secret("t€ken"), "empty": ""}), said.append)
    assert end.splitlines() == ["t€ken", "progress: half", "700", "600", "end"]
    assert said == ["half"]
    assert not (root / "jobs/a").exists()


def test_a_job_that_is_at_work_is_followed_and_not_begun_again(root: Path) -> None:
    job = Job("a", f"echo ran >> {root}/ran; sleep 1; echo done", "a job")
    assert jobs.start(LocalTransport(), job) is True
    assert jobs.start(LocalTransport(), job) is False
    said: list[str] = []
    assert "done" in jobs.run(LocalTransport(), job, said.append)
    assert said == ["found at work already, going on with it"]
    assert (starts(root), (root / "ran").read_text()) == (1, "ran\n")


def test_a_job_outlives_its_killed_follower(root: Path) -> None:
    job = Job("a", f"sleep 1.2; echo ran >> {root}/ran; echo done", "a job")
    child = os.fork()
    if child == 0:
        jobs.run(LocalTransport(), job, print)
        os._exit(0)
    while not (root / "units/fleet-job-a").exists():
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert "done" in jobs.run(LocalTransport(), job, lambda _: None)
    assert (starts(root), (root / "ran").read_text()) == (1, "ran\n")


def test_a_job_that_fails_shows_its_last_lines_and_keeps_its_log(root: Path) -> None:
    script = "seq 100; echo 'progress: 10 %'; echo 'No space left on device' >&2; exit 5"
    with pytest.raises(CommandFailed, match="the pull failed") as failed:
        jobs.run(LocalTransport("h1"), Job("a", script, "the pull"), lambda _: None)
    assert failed.value.status == 5
    assert failed.value.stderr.splitlines()[-2:] == ["100", "No space left on device"]
    assert "disk is full" in failed.value.hint
    assert (root / "jobs/a/log").exists()
    assert "7" in jobs.run(LocalTransport(), Job("a", "echo 7", "the pull"), lambda _: None), "it can be begun again"


def test_a_job_that_was_killed_says_so(root: Path) -> None:
    host, job = LocalTransport(), Job("a", "echo begun; sleep 60", "a job")
    jobs.start(host, job)

    def kill() -> None:
        os.killpg(int((root / "units/fleet-job-a").read_text()), signal.SIGKILL)

    threading.Timer(0.3, kill).start()
    with pytest.raises(CommandFailed, match="ended before it was done"):
        jobs.follow(host, "a", "a job", lambda _: None)


def test_a_job_that_vanished_with_its_directory_says_so(root: Path) -> None:
    with pytest.raises(CommandFailed, match="ended before it was done"):
        jobs.follow(LocalTransport(), "never-was", "a job", lambda _: None)


def test_a_status_that_a_full_disk_left_empty_is_a_failure(root: Path) -> None:
    (root / "jobs/a").mkdir(parents=True)
    (root / "jobs/a/rc").touch()
    (root / "jobs/a/log").write_text("no space left on device\n")
    with pytest.raises(CommandFailed) as failed:
        jobs.follow(LocalTransport(), "a", "a job", lambda _: None)
    assert failed.value.status == 255


def test_of_a_huge_log_only_the_end_travels(root: Path) -> None:
    host = LocalTransport()
    sizes: list[int] = []
    run = host.run

    def counted(command: str, stdin: bytes | None = None, *, timeout: float = 60.0):  # type: ignore[no-untyped-def] # as inner
        reply = run(command, stdin, timeout=timeout)
        sizes.append(len(reply.stdout))
        return reply

    host.run = counted  # type: ignore[method-assign] # counts what travels
    end = jobs.run(host, Job("a", "seq 3000000; printf '\\n@@0 active 3\\nlast'", "a job"), lambda _: None)
    assert end.endswith("last")
    assert max(sizes) < jobs.MOST_AT_ONCE + 200


def test_a_systemd_that_refuses_is_named(root: Path) -> None:
    (root / "broken").touch()
    with pytest.raises(HostError, match="could not be started") as failed:
        jobs.start(LocalTransport("h1"), Job("a", "true", "a job"))
    assert "connect to bus" in failed.value.stderr


def test_a_log_that_can_not_be_asked_for_is_no_failure_of_the_job(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PREAMBLE", "exit 1")
    with pytest.raises(HostError, match="can't be followed") as failed:
        jobs.follow(LocalTransport("h1"), "a", "a job", lambda _: None)
    assert not isinstance(failed.value, CommandFailed)
