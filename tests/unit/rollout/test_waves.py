"""Who goes when: canaries first, everybody once, and every model keeps a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.counts import Count, counts
from fleet.rollout.waves import Member, NoCapacity, plan_waves


def members(number: int, *, kinds: int = 1, sites: int = 1, models: int = 1) -> list[Member]:
    return [
        Member(f"h{i:02}", f"kind {i % kinds}", f"site {i % sites}", frozenset({f"m{i % models}"}))
        for i in range(number)
    ]


def serving_all(those: list[Member]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for member in those:
        for model in member.models:
            found.setdefault(model, {})[member.host] = member.site
    return found


def test_one_canary_a_class_one_after_another_and_then_the_batches() -> None:
    twelve = members(12, kinds=3)
    waves = plan_waves(twelve, serving_all(twelve), batch=counts("1,3,50%"), max_unavailable=Count(50, percent=True))
    assert [(w.canary, len(w.hosts)) for w in waves] == [
        (True, 1), (True, 1), (True, 1), (False, 1), (False, 3), (False, 5),
    ]  # fmt: skip


def test_a_class_that_has_a_host_which_is_well_needs_no_canary() -> None:
    six = members(6, kinds=3)
    room = Count(50, percent=True)
    waves = plan_waves(six, serving_all(six), batch=counts("2"), max_unavailable=room, proven={"kind 0", "kind 2"})
    assert [(wave.canary, wave.hosts[0]) for wave in waves] == [
        (True, "h01"),
        (False, "h00"),
        (False, "h03"),
        (False, "h05"),
    ]


def test_the_only_server_of_a_model_is_not_taken_away_unless_it_is_said() -> None:
    lone = members(1)
    with pytest.raises(NoCapacity, match="m0 is served by h00 alone") as caught:
        plan_waves(lone, serving_all(lone), batch=counts("1"), max_unavailable=Count(1))
    assert caught.value.exit_code == 2
    waves = plan_waves(lone, serving_all(lone), batch=counts("1"), max_unavailable=Count(1), allow_downtime=True)
    assert [w.hosts for w in waves] == [("h00",)]


def test_a_server_outside_the_rollout_is_capacity_too() -> None:
    one = members(1)
    serving = {"m0": {"h00": "site 0", "elsewhere": "site 1"}}
    assert plan_waves(one, serving, batch=counts("1"), max_unavailable=Count(1))


def test_a_host_that_does_not_serve_costs_no_capacity() -> None:
    two = members(2)
    waves = plan_waves(two, {"m0": {"h01": "site 0", "x": "site 0"}}, batch=counts("5"), max_unavailable=Count(5))
    assert [w.hosts for w in waves] == [("h00",), ("h01",)]


@given(
    st.integers(1, 30), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3),
    st.sampled_from(["1", "1,5,25%", "50%", "100%"]), st.sampled_from([Count(1), Count(25, percent=True), Count(100)]),
)  # fmt: skip
def test_everybody_goes_once_and_every_model_and_site_keeps_a_server(
    number: int, kinds: int, sites: int, models: int, batch: str, most: Count
) -> None:
    those = members(number, kinds=kinds, sites=sites, models=models)
    serving = serving_all(those)
    if any(len(hosts) == 1 for hosts in serving.values()):
        with pytest.raises(NoCapacity):
            plan_waves(those, serving, batch=counts(batch), max_unavailable=most)
        return
    waves = plan_waves(those, serving, batch=counts(batch), max_unavailable=most)
    assert sorted(host for wave in waves for host in wave.hosts) == [member.host for member in those]
    seen_others = False
    for wave in waves:
        assert len(wave.hosts) <= max(1, most.of(number))
        assert not (wave.canary and seen_others), "a canary after a wave"
        seen_others = seen_others or not wave.canary
        for hosts in serving.values():
            assert set(hosts) - set(wave.hosts)
            for site in set(hosts.values()):
                there = {host for host, where in hosts.items() if where == site}
                assert len(there) < 2 or there - set(wave.hosts)
