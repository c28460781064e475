"""What people read of a rollout claims nothing that nobody knows."""

from __future__ import annotations

from fleet.provision import HostResult
from fleet.rollout import verdict
from fleet.rollout.run import Outcome
from fleet.rollout.turn import At
from fleet.rollout.waves import Wave


def test_nothing_waits_only_where_every_host_was_looked_at() -> None:
    assert verdict.waves(()) == "Nothing waits for a rollout."
    told = verdict.waves((), ("h1", "h2"))
    assert "Nothing waits" not in told
    assert "h1, h2" in told


def test_hosts_that_are_not_known_stand_beside_the_waves() -> None:
    told = verdict.waves((Wave("wave 1", ("h1",)),), ("h2",)).splitlines()
    assert told[0] == "Waves: 1, 1 hosts"
    assert "h2" in told[-1]


def test_nothing_was_to_do_is_said_of_what_is_done_alone() -> None:
    assert verdict.screen(Outcome()) == "\nDONE: nothing was to do"
    stopped = Outcome(state="stopped", reason="h1 could not be prepared; nothing was switched")
    assert verdict.screen(stopped) == "\nSTOPPED\n  h1 could not be prepared; nothing was switched"


def test_ends_are_counted() -> None:
    outcome = Outcome({"h1": HostResult()}, {"h1": At.DONE, "h2": At.REVERTED}, "stopped")
    assert verdict.screen(outcome).startswith("\nSTOPPED: 1 serve the new release, 1 put back")
