"""One host's turn: every way through it ends, and no release that failed is ever let at the requests."""

from __future__ import annotations

from itertools import product

import pytest

from fleet.rollout.turn import ROUTES, At, after, resumed

STEPS = [at for at in At if not at.is_end]
GIVES_BACK = {At.ADMIT, At.KEEP, At.READMIT}


def walk(at: At, outcomes: tuple[bool, ...], *, back: bool = False) -> list[At]:
    """The steps from ``at``; when the outcomes are used up, all goes well."""
    path = [at]
    for ok in (*outcomes, *([True] * 20)):
        if path[-1].is_end:
            return path
        path.append(after(path[-1], ok=ok, back=back))
    raise AssertionError(f"it never ends: {path}")


def test_all_well_ends_with_the_new_release_serving() -> None:
    assert walk(At.DRAIN, ()) == [
        At.DRAIN, At.IDLE, At.MEASURE, At.SWITCH, At.GATES, At.ADMIT, At.DONE,
    ]  # fmt: skip


def test_a_failed_gate_puts_the_old_release_back_and_lets_it_serve() -> None:
    path = walk(At.DRAIN, (True, True, True, True, False))
    assert path[-4:] == [At.GO_BACK, At.CHECK, At.READMIT, At.REVERTED]


def test_requests_that_never_end_leave_the_host_untouched() -> None:
    assert walk(At.DRAIN, (True, False)) == [At.DRAIN, At.IDLE, At.KEEP, At.KEPT]


@pytest.mark.parametrize("start", STEPS)
@pytest.mark.parametrize("back", [False, True])
def test_from_every_step_with_every_luck_the_turn_ends(start: At, back: bool) -> None:
    for outcomes in product([True, False], repeat=8):
        path = walk(start, outcomes, back=back)
        assert path[-1].is_end
        assert len(path) <= len(STEPS) + 1


@pytest.mark.parametrize("start", STEPS)
@pytest.mark.parametrize("abort", [False, True])
def test_nothing_is_stopped_before_it_was_drained_and_nothing_serves_before_its_gates(start: At, abort: bool) -> None:
    at, back = resumed(start, abort=abort)
    for outcomes in product([True, False], repeat=8):
        path = walk(at, outcomes, back=back)
        for stops in (At.SWITCH, At.GO_BACK):
            if stops in path:
                assert At.DRAIN in path[: path.index(stops)]
        if At.ADMIT in path and start not in GIVES_BACK:
            assert At.GATES in path[: path.index(At.ADMIT)]
        if At.SWITCH in path:
            assert At.KEEP not in path[path.index(At.SWITCH) :]


def test_an_abort_leads_back_and_keeps_what_passed_its_gates() -> None:
    assert walk(*_resumed(At.SWITCH, abort=True))[-1] is At.REVERTED
    assert walk(*_resumed(At.IDLE, abort=True))[-1] is At.KEPT
    assert walk(*_resumed(At.ADMIT, abort=True))[-1] is At.DONE


@pytest.mark.parametrize("at", [At.DRAIN, At.IDLE, At.MEASURE])
@pytest.mark.parametrize("abort", [False, True])
def test_a_turn_that_was_taken_up_after_its_switch_and_cut_off_again_is_never_kept(at: At, abort: bool) -> None:
    start, back = resumed(at, abort=abort, touched=True)
    assert (start, back) == (At.DRAIN, abort)
    for outcomes in product([True, False], repeat=8):
        path = [start]
        for ok in (*outcomes, *([True] * 20)):
            if not path[-1].is_end:
                path.append(after(path[-1], ok=ok, back=back, touched=True))
        assert At.KEEP not in path
    assert resumed(at, back=True, touched=True) == (At.DRAIN, True)


def test_every_step_has_its_routes() -> None:
    assert set(ROUTES) == set(STEPS)
    assert all(isinstance(way, At) for ways in ROUTES.values() for way in ways)


def _resumed(at: At, *, abort: bool) -> tuple[At, tuple[bool, ...]]:
    start, back = resumed(at, abort=abort)
    if not back:
        return start, ()
    path = [start]
    while not path[-1].is_end:
        path.append(after(path[-1], ok=True, back=True))
    return path[-2], ()
