"""The way back, by a real shell: units and containers are the test's, the scripts are ours."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fleet import releases
from fleet.errors import HostError, Unreachable
from fleet.provision import HostResult
from fleet.resource import Step
from fleet.resources.release import INSTANCES, UNITS
from fleet.rollout.switching import ToReleases, bring_back, stop_unjudged
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


def test_all_that_go_back_are_stopped_before_the_first_is_started(host: Host) -> None:
    for instance in ("a", "b", "well"):
        host.release(instance, OLD)
        host.release(instance, NEW)
        host.serve(instance, OLD if instance == "well" else NEW)
    host.forget_calls()
    back = bring_back(host, {"a": OLD, "b": OLD, "well": OLD}, Lock(), silent)  # type: ignore[arg-type]  # ours
    assert back == ["a", "b"]
    assert host.running == {"a": OLD, "b": OLD, "well": OLD}
    verbs = ["stop fleet-a", "stop fleet-b", "restart fleet-a", "restart fleet-b"]
    assert host.calls == [f"systemctl {verb}.service" for verb in verbs]


def test_one_that_cannot_go_back_keeps_no_other_from_it(host: Host) -> None:
    for instance in ("a", "b"):
        host.release(instance, NEW)
        host.serve(instance, NEW)
    host.release("b", OLD)
    with pytest.raises(HostError, match="switch a to release aaa"):
        bring_back(host, {"a": OLD, "b": OLD}, Lock(), silent)  # type: ignore[arg-type]  # ours
    assert host.running == {"b": OLD}


def test_a_host_that_is_gone_on_the_way_back_is_no_release_that_failed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> float:
        raise Unreachable("the line broke", where="h1")

    host.release("a", OLD)
    monkeypatch.setattr(releases, "patience", gone)
    with pytest.raises(Unreachable):
        bring_back(host, {"a": OLD}, Lock(), silent)  # type: ignore[arg-type]  # ours


def test_the_patience_is_what_is_told_or_what_the_weights_on_the_host_let_expect(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = host.path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    host.release("a", OLD)
    start = host.path / "instances" / "a" / "releases" / OLD / "before-start"
    assert releases.patience(host, "a", OLD) == 1800
    start.write_text(f'#!/bin/sh\n[ -f {weights}/config.json ] || {{ echo "gone" >&2; exit 1; }}\n')
    assert releases.patience(host, "a", OLD) == 1800
    host.program("du", "printf '150000000\\t%s\\n' \"$2\"")  # 154 GB
    assert 3900 < releases.patience(host, "a", OLD) < 4000
    assert f"du -skL {weights}" in (host.path / "calls").read_text()
    waited: list[float] = []
    steps = releases.go_back

    def seen(*args: Any, patience: float) -> list[Step]:
        waited.append(patience)
        return steps(*args, patience=patience)

    monkeypatch.setattr(releases, "go_back", seen)
    ToReleases({"h1": {"a": OLD}}, deadlines={"h1": 2.0}).switch("h1", host, Lock(), HostResult(), silent)  # type: ignore[arg-type]  # ours
    host.run("systemctl stop fleet-a.service")
    ToReleases({"h1": {"a": OLD}}).switch("h1", host, Lock(), HostResult(), silent)  # type: ignore[arg-type]  # ours
    assert waited[0] == 2.0
    assert waited[1] > 3900
