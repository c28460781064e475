"""The script that stays with a container: it passes on how the container ended, and outlives Docker's own ends."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fleet.target import TEMPLATES
from fleet.templates import render

SHELLS = [shell for shell in ("/bin/dash", "/bin/busybox sh", "/bin/bash --posix") if Path(shell.split()[0]).exists()]
#: A Docker that was away when it is first asked, and whose container lives on for one more ``attach``.
DOCKER = """#!/bin/sh
echo "$*" >> "$STATE/asked"
case $1 in
  version) n=$(cat "$STATE/away"); [ "$n" -eq 0 ] || { echo $((n - 1)) > "$STATE/away"; exit 1; };;
  inspect) cat "$STATE/alive";;
  attach) : > "$STATE/alive"; exit 3;;
esac
"""


def stay(tmp_path: Path, shell: str, command: list[str], *, away: int = 0, alive: str = "") -> tuple[int, list[str]]:
    values = {"name": "a", "release": "r1", "container": "fleet-a", "alive": "{{.State.Running}}"}
    (tmp_path / "stay").write_text(render(TEMPLATES / "vllm_service" / "stay.j2", values))
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "away").write_text(str(away))
    (tmp_path / "alive").write_text(alive)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "STATE": str(tmp_path)}
    done = subprocess.run(
        [*shell.split(), str(tmp_path / "stay"), *command], env=environment, timeout=30, check=False,
        capture_output=True,
    )  # fmt: skip
    return done.returncode, (tmp_path / "asked").read_text().splitlines()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("status", [0, 2, 126, 137])
def test_how_the_container_ended_is_passed_on(tmp_path: Path, shell: str, status: int) -> None:
    assert stay(tmp_path, shell, ["sh", "-c", f"exit {status}"])[0] == status


@pytest.mark.parametrize("shell", SHELLS)
def test_a_container_that_outlived_the_daemon_is_followed_until_it_ends(tmp_path: Path, shell: str) -> None:
    status, asked = stay(tmp_path, shell, ["sh", "-c", "exit 125"], away=1, alive="true r1")
    assert status == 3
    assert [line.split()[0] for line in asked] == ["version", "version", "inspect", "attach", "version", "inspect"]


@pytest.mark.parametrize("shell", SHELLS)
def test_another_releases_container_is_not_taken_for_ours(tmp_path: Path, shell: str) -> None:
    status, asked = stay(tmp_path, shell, ["sh", "-c", "exit 125"], alive="true r2")
    assert status == 125
    assert not any(line.startswith("attach") for line in asked)
