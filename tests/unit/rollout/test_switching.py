"""The way back, by a real shell: units and containers are the test's, the scripts are ours."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fleet.errors import HostError
from fleet.resources.release import INSTANCES, UNITS
from fleet.rollout.switching import stop_unjudged
from fleet.shell import PREAMBLE, quote
from fleet.transport import Reply
from fleet.transport.local import LocalTransport

FAKE = Path(__file__).parents[2] / "fake_systemd.py"
OLD, NEW = "aaa", "bbb"


class Host(LocalTransport):
    """This machine, with releases, units and containers below the test's directory; ``calls`` is what was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__("h1")
        self.path = path
        for name in ("bin", "units", "instances"):
            (path / name).mkdir()
        for name in ("systemctl", "docker"):
            self.program(name, f'exec {sys.executable} -I -S {FAKE} {name} "$@"')

    def program(self, name: str, script: str) -> None:
        """A program of the test's own before the host's."""
        file = self.path / "bin" / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.path}/calls\n{script}\n')
        file.chmod(0o755)

    def run(self, command: str, stdin: bytes | None = None, *, timeout: float = 60.0) -> Reply:
        """As on a host, led to the test's own places."""
        here = command.replace(INSTANCES, f"{self.path}/instances").replace(UNITS, f"{self.path}/units")
        here = here.replace(PREAMBLE, ":")
        path = f"{self.path}/bin:{os.environ['PATH']}"
        return super().run(f"export FAKE={self.path} PATH={quote(path)}\n{here}", stdin, timeout=timeout)

    def release(self, instance: str, release: str) -> None:
        """One that is staged. It is healthy when it runs."""
        place = self.path / "instances" / instance / "releases" / release
        place.mkdir(parents=True)
        (place / f"fleet-{instance}.service").write_text(
            f"[Unit]\n[Service]\nExecStart=--label=fleet.release={release}\n"
        )
        (place / "health").write_text(
            f'#!/bin/sh\n[ "$(docker inspect --format r fleet-{instance})" = {release} ] || exit 1\n'
        )
        (place / "health").chmod(0o755)

    def serve(self, instance: str, release: str, *, good: bool = True) -> None:
        """Let it run, current and good."""
        base = self.path / "instances" / instance
        for name in ("current", "good") if good else ("current",):
            (base / name).unlink(missing_ok=True)
            (base / name).symlink_to(f"releases/{release}")
        unit = f"fleet-{instance}.service"
        (self.path / "units" / unit).write_text((base / "current" / unit).read_text())
        assert self.run(f"systemctl daemon-reload && systemctl enable {unit} && systemctl restart {unit}").ok

    @property
    def running(self) -> Mapping[str, str]:
        """Instance → the release that its container runs."""
        told = json.loads((self.path / "state.json").read_text())["containers"]
        return {name.removeprefix("fleet-"): release for name, release in told.items()}

    @property
    def calls(self) -> list[str]:
        """What systemd was told to do, in order."""
        lines = (self.path / "calls").read_text().splitlines()
        verbs = ("stop", "restart", "disable")
        return [line.replace(" --now --quiet", "") for line in lines if line.split()[1] in verbs]

    def forget_calls(self) -> None:
        """From now on."""
        (self.path / "calls").write_text("")


class Lock:
    """Ours."""

    def check(self) -> None:
        """It is."""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def silent(text: str) -> None:
    """Nobody listens."""


def test_stopped_is_what_runs_another_release_than_it_may_and_nothing_else(host: Host) -> None:
    for instance, release in (("old", OLD), ("new", NEW), ("first", NEW), ("staged", NEW)):
        host.release(instance, release)
        if instance != "staged":
            host.serve(instance, release)
    stopped = stop_unjudged(host, {"old": OLD, "new": OLD, "first": "", "staged": "", "nowhere": OLD}, silent)
    assert stopped == ["new", "first"]
    assert host.running == {"old": OLD}


def test_a_unit_that_would_start_the_wrong_release_is_stopped_too(host: Host) -> None:
    host.release("a", NEW)
    host.serve("a", NEW)
    assert host.run("docker rm --force fleet-a").ok  # between two tries of systemd's
    assert stop_unjudged(host, {"a": OLD}, silent) == ["a"]
    assert json.loads((host.path / "state.json").read_text())["units"]["fleet-a.service"]["enabled"] == "disabled"


def test_what_cannot_be_stopped_is_said_and_the_others_are_stopped(host: Host) -> None:
    for instance in ("a", "b"):
        host.release(instance, NEW)
        host.serve(instance, NEW)
    refuses = '[ "$1 $4" != "disable fleet-a.service" ] || exit 1'
    host.program("systemctl", f'{refuses}\nexec {sys.executable} -I -S {FAKE} systemctl "$@"')
    with pytest.raises(HostError, match="stop fleet-a"):
        stop_unjudged(host, {"a": OLD, "b": OLD}, silent)
    assert host.running == {"a": NEW}
