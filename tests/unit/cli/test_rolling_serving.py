"""Who counts as serving beside the picked hosts where no gateway of ours sees them, and how long drains last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet import quarantine
from fleet.cli import rolling
from fleet.cli import session as sessions
from fleet.cli.beside import beside
from fleet.cli.rolling import Rolling
from fleet.cli.session import Options, open_session
from fleet.inventory import Inventory
from fleet.rollout.options import Options as RolloutOptions
from fleet.rollout.switching import ToReleases
from fleet.rollout.waves import Member, NoCapacity
from fleet.settings import HostSettings
from fleet.transport.fake import FakeTransport

ROOT = Path(__file__).resolve().parents[3]
Opened = Callable[..., Rolling]
SERVES = {"instances": [{"name": "vl", "model": "m"}]}
OWN = {"drain": "/bin/true", "undrain": "/bin/true"}
MEMBER = Member("h1", "A10", "", frozenset({"m"}))


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """A rollout over h1 of these hosts; every host has a good release that serves the name ``m``."""
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / ".fleet"))
    about = json.dumps({"served_name": "m"})
    answers = [("release\\+=", f"release+=vl aaa -,current,good 1 7 {about}\nend=yes\n"), ("", "")]
    monkeypatch.setattr(sessions, "connector", lambda *_: lambda name: FakeTransport(name, answers))

    with ExitStack() as stack:

        def make(
            hosts: Mapping[str, Mapping[str, Any]],
            *,
            pick: str = "h1",
            away: tuple[str, ...] = (),
            children: Any = None,
            **shared: Any,
        ) -> Rolling:
            tree = {"hosts": hosts, "vars": {"ansible_user": "root", **shared}, "children": children or {}}
            (tmp_path / "inv.json").write_text(json.dumps({"all": tree}))
            now = quarantine.utc_now()
            quarantine.store(tmp_path, quarantine.add({}, away, "a fan", "me", timedelta(hours=1), now))
            options = Options(hosts=pick, inventory=(str(tmp_path / "inv.json"),))
            session = stack.enter_context(open_session(options, (), doing="t", look_up=False, quiet=True))
            return Rolling(session, RolloutOptions(), "r", "", lambda event, about: None)

        yield make


def at(number: int) -> dict[str, Any]:
    return {"ansible_host": f"192.0.2.{number}", **SERVES}


@pytest.mark.parametrize("own", [{}, {"gateway": OWN}], ids=["no balancer", "one's own"])
def test_one_host_of_several_that_serve_a_model_may_be_rolled_out(opened: Opened, own: dict[str, Any]) -> None:
    roll = opened({"h1": at(1), "h2": at(2)}, **own)
    assert roll.serving() == {"m": {"h1": "", "h2": ""}}
    assert [wave.hosts for wave in roll.waves([MEMBER])] == [("h1",)]


@pytest.mark.parametrize("own", [{}, {"gateway": OWN}], ids=["no balancer", "one's own"])
def test_a_host_in_quarantine_is_no_capacity_and_keeps_no_other_from_being_some(
    opened: Opened, own: dict[str, Any]
) -> None:
    with pytest.raises(NoCapacity, match="h1 alone"):
        opened({"h1": at(1), "h2": at(2)}, away=("h2",), **own).waves([MEMBER])
    assert opened({"h1": at(1), "h2": at(2), "h3": at(3)}, away=("h2",), **own).waves([MEMBER])


def test_one_that_is_picked_all_the_same_counts_no_more_for_that(opened: Opened) -> None:
    """A resume's session has the hosts that were quarantined since."""
    assert opened({"h1": at(1), "h2": at(2)}, pick="h1,h2", away=("h2",)).serving() == {"m": {"h1": ""}}


def test_a_server_that_its_balancer_sees_down_does_not_count_as_told(opened: Opened, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("#!/bin/sh\necho down ready 0\n")
    state.chmod(0o700)
    roll = opened({"h1": at(1), "h2": at(2)}, gateway={**OWN, "state": str(state)})
    assert roll.serving() == {"m": {"h2": ""}}


def test_a_name_that_another_host_keeps_may_go_from_this_one(opened: Opened) -> None:
    renamed = {**at(1), "instances": [{"name": "vl", "model": "m2"}]}
    opened({"h1": renamed, "h2": at(2)}).names_stay()
    with pytest.raises(NoCapacity, match="m would be left without capacity"):
        opened({"h1": renamed, "h2": at(2)}, away=("h2",)).names_stay()


def test_a_host_that_nobody_asks_for_is_read_when_a_rollout_asks_for_capacity_and_never_fails_it(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(inventory: Inventory, but: Collection[str]) -> dict[str, HostSettings]:
        read.append(1)
        return beside(inventory, but)

    monkeypatch.setattr(sessions, "beside", counted)
    roll = opened({"h1": at(1), "h2": at(2), "h3": {**at(3), "instances": "{{ nobody_says }}"}})
    assert read == []
    assert sorted(roll.serving()["m"]) == ["h1", "h2"]
    roll.serving()
    assert read == [1]  # once a run, not once a wave


def test_a_rollout_of_many_hosts_behind_a_balancer_that_tells_no_state_finds_them_all_in_service(
    opened: Opened,
) -> None:
    roll = opened({f"h{number}": at(number) for number in range(1, 5)}, pick="all", gateway=OWN)
    assert sorted(roll.serving()["m"]) == ["h1", "h2", "h3", "h4"]


@pytest.mark.parametrize(
    ("h1", "h2", "seconds"),
    [({}, {}, 600), (OWN | {"drain_seconds": 90}, OWN | {"drain_seconds": 300}, 90), ({"drain_seconds": 90}, {}, 600)],
    ids=["nothing said", "the shortest of the balancers' own", "no balancer there"],
)
def test_a_drain_at_a_balancer_of_ones_own_lasts_as_long_as_its_hosts_say(
    opened: Opened, h1: dict[str, Any], h2: dict[str, Any], seconds: float
) -> None:
    roll = opened({"h1": {**at(1), "gateway": h1}, "h2": {**at(2), "gateway": h2}}, pick="h1,h2")
    assert rolling.drain_seconds(roll.session) == seconds


def test_of_a_gateway_and_a_balancer_of_ones_own_the_shorter_drain_counts(opened: Opened) -> None:
    h1 = {**at(1), "gateway": OWN | {"drain_seconds": 90}}
    ours = {"hosts": {"g1": {"ansible_host": "192.0.2.9", "gateway": {"drain_seconds": 40}}}}
    assert rolling.drain_seconds(opened({"h1": h1}, children={"gateway": ours}).session) == 40


def test_a_rollback_gives_each_host_the_time_to_answer_that_its_settings_say(opened: Opened) -> None:
    slow = {**at(1), "rollout": {"start_deadline": "40m"}}
    switch = opened({"h1": slow, "h2": at(2)}, pick="h1,h2").to_releases({"h1": {"vl": "aaa"}, "h2": {"vl": "aaa"}})
    assert isinstance(switch, ToReleases)
    assert switch.deadlines == {"h1": 2400.0, "h2": None}


def test_a_drain_by_hand_lasts_as_long_as_the_host_behind_the_balancer_says(tmp_path: Path) -> None:
    drain = tmp_path / "drain"
    drain.write_text(f"#!/bin/sh\necho $FLEET_SECONDS >>{tmp_path}/told\n")
    drain.chmod(0o700)
    h1 = {**at(1), "gateway": {"drain": str(drain), "undrain": "/bin/true", "drain_seconds": 90}}
    (tmp_path / "inv.json").write_text(json.dumps({"all": {"hosts": {"h1": h1}}}))
    words = ["gateway.drain", "--servers", "h1", "--yes", "--inventory", str(tmp_path / "inv.json")]
    done = subprocess.run(
        [sys.executable, "-m", "fleet", *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FLEET_HOME": str(tmp_path / ".fleet")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "told").read_text() == "90\n"
