"""A rollout over its hosts: what stops it, what it pauses at, and who is left as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.crew import Crew
from fleet.errors import HookFailed, HostError, LockHeld
from fleet.lock import Owner
from fleet.progress import Progress
from fleet.rollout import journal, run
from fleet.rollout.balancers import Balancers
from fleet.rollout.drive import Turn
from fleet.rollout.journal import Journal
from fleet.rollout.options import Options
from fleet.rollout.run import Outcome, Rollout
from fleet.rollout.turn import At
from fleet.rollout.waves import Member, Wave
from fleet.rollout.work import Work
from fleet.settings.rollout import Rollout as Told
from fleet.transport.fake import FakeTransport

HOSTS = ("a1", "a2", "b1", "b2", "b3")
WAVES = (
    Wave("canary 1", ("a1",), canary=True),
    Wave("canary 2", ("b1",), canary=True),
    Wave("wave 1", ("a2", "b2", "b3")),
)


class Fleet:
    """Hosts whose turns end as they are told; ``begun`` is who had one, in order."""

    def __init__(self) -> None:
        self.ends: dict[str, At | HostError] = {}
        self.begun: list[str] = []
        self.serving: dict[str, dict[str, str]] = {"m": dict.fromkeys((*HOSTS, "other"), "")}

    def take(self, turn: Turn) -> At:
        self.begun.append(turn.name)
        end = self.ends.get(turn.name, At.DONE)
        if isinstance(end, HostError):
            raise end
        return end


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleet:
    made = Fleet()
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    monkeypatch.setattr(Turn, "take", lambda turn: made.take(turn))
    monkeypatch.setattr(run, "_AWAY", 0.0)
    return made


@pytest.fixture
def book() -> Iterator[Journal]:
    with Journal("r1") as opened:
        yield opened


def rollout(fleet: Fleet, book: Journal, told: list[str] | None = None, **options: Any) -> Rollout:
    work = Work(
        "r1", Owner("me", "now", "rollout"), "", None, Balancers([]), book, Progress(quiet=True),  # type: ignore[arg-type]  # no turn switches here
        lambda name: Told(), threading.Event(), lambda name: "",
    )  # fmt: skip
    members = [Member(host, host[0], "", frozenset({"m"})) for host in HOSTS]
    tell = (lambda event, about: told.append(event)) if told is not None else (lambda event, about: None)
    chosen = Options(**{"max_unavailable": "100%", **options})
    return Rollout(Crew(lambda name: FakeTransport(name)), work, chosen, members, lambda: fleet.serving, tell)


def test_all_waves_in_order_and_everybody_done(fleet: Fleet, book: Journal) -> None:
    told: list[str] = []
    outcome = rollout(fleet, book, told).go(WAVES, Outcome())
    assert (outcome.state, set(outcome.ends.values())) == ("done", {At.DONE})
    assert fleet.begun[:2] == ["a1", "b1"]
    assert sorted(fleet.begun[2:]) == ["a2", "b2", "b3"]
    assert told[:2] == ["wave-begins", "host-begins"]
    assert [wave["name"] for wave in journal.read(book.path).waves] == ["canary 1", "canary 2", "wave 1"]


def test_a_canary_that_fails_stops_it_whatever_may_fail_later(fleet: Fleet, book: Journal) -> None:
    fleet.ends = {"a1": At.REVERTED}
    outcome = rollout(fleet, book, max_fail="50%").go(WAVES, Outcome())
    assert (outcome.state, fleet.begun) == ("stopped", ["a1"])
    assert "the canary a1 failed" in outcome.reason
    assert all(outcome.results[host].skipped for host in ("b1", "a2", "b2", "b3"))
    assert outcome.settled


def test_as_many_as_may_fail_do_not_stop_it_and_one_more_does(fleet: Fleet, book: Journal) -> None:
    waves = (Wave("wave 1", ("a2",)), Wave("wave 2", ("b2",)), Wave("wave 3", ("b3",)))
    fleet.ends = {"a2": At.REVERTED, "b2": At.BROKEN}
    assert rollout(fleet, book, max_fail="2").go(waves, Outcome()).state == "done"
    fleet.begun.clear()
    outcome = rollout(fleet, book, max_fail="1").go(waves, Outcome())
    assert (outcome.state, fleet.begun) == ("stopped", ["a2", "b2"])
    assert not outcome.settled


@pytest.mark.parametrize(
    ("ends", "max_fail", "canaries", "words"),
    [
        ({"a1": At.REVERTED}, "50%", {"a1"}, "the canary a1 failed"),
        ({"a1": At.REVERTED, "b1": At.KEPT}, "1", (), "2 hosts failed: a1, b1; at most 1 may"),
    ],
)
def test_what_failed_before_a_resume_stops_it_before_another_wave(
    fleet: Fleet, book: Journal, ends: dict[str, At], max_fail: str, canaries: set[str], words: str
) -> None:
    outcome = rollout(fleet, book, max_fail=max_fail).go(WAVES[2:], Outcome(ends=ends), canaries=canaries)
    assert (outcome.state, fleet.begun) == ("stopped", [])
    assert words in outcome.reason


def test_it_pauses_between_the_canaries_and_the_first_wave(fleet: Fleet, book: Journal) -> None:
    outcome = rollout(fleet, book, pause=True).go(WAVES, Outcome())
    assert (outcome.state, fleet.begun) == ("paused", ["a1", "b1"])
    assert journal.read(book.path).state == "paused"
    assert rollout(fleet, book, pause=True).go(WAVES[2:], outcome).ends["b3"] is At.DONE


def test_no_wave_begins_that_would_take_a_models_last_server(fleet: Fleet, book: Journal) -> None:
    fleet.serving = {"m": {"a1": ""}}
    outcome = rollout(fleet, book).go(WAVES, Outcome())
    assert (outcome.state, fleet.begun) == ("stopped", [])
    assert "no other host serves m now" in outcome.reason


def test_hosts_that_are_away_count_against_how_many_may_be(fleet: Fleet, book: Journal) -> None:
    fleet.serving = {"m": {"a1": "", "b1": "", "other": ""}}
    outcome = rollout(fleet, book, max_unavailable="3").go(WAVES[:1], Outcome())
    assert outcome.state == "stopped"
    assert "a2, b2, b3 not in service already" in outcome.reason


def test_a_host_that_somebody_else_holds_is_a_failure_and_was_not_touched(fleet: Fleet, book: Journal) -> None:
    fleet.ends = {"a1": LockHeld("locked by eve", where="a1")}
    outcome = rollout(fleet, book).go(WAVES, Outcome())
    assert outcome.state == "stopped"
    assert outcome.ends == {"a1": At.KEPT}
    assert outcome.results["a1"].failures[0].message == "locked by eve"


def test_a_required_hook_that_refuses_a_wave_stops_it_before_anything_is_touched(fleet: Fleet, book: Journal) -> None:
    made = rollout(fleet, book)

    def refuse(event: str, about: object) -> None:
        raise HostError("not on a Friday")

    made.tell = refuse
    outcome = made.go(WAVES, Outcome())
    assert (outcome.state, outcome.reason, fleet.begun) == ("stopped", "not on a Friday", [])
    assert outcome.held
    assert journal.read(book.path).waves == ()


def test_what_stops_for_another_reason_is_not_held_for_a_resume(fleet: Fleet, book: Journal) -> None:
    fleet.ends = {"a1": At.REVERTED}
    outcome = rollout(fleet, book).go(WAVES, Outcome())
    assert (outcome.state, outcome.held) == ("stopped", False)


def test_what_a_refusing_hook_advises_is_part_of_the_reason(fleet: Fleet, book: Journal) -> None:
    made = rollout(fleet, book)

    def refuse(event: str, about: object) -> None:
        raise HookFailed("not on a Friday", hint="./inv rollout.resume --run r1 goes on")

    made.tell = refuse
    assert made.go(WAVES, Outcome()).reason == "not on a Friday; ./inv rollout.resume --run r1 goes on"
