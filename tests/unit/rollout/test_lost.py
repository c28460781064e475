"""What a host didn't answer to the end says nothing: it is asked again, and never taken for a no."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from fleet.errors import CommandFailed, HostError, Unreachable
from fleet.rollout import marker
from fleet.rollout.live import Live
from fleet.rollout.look import look
from fleet.rollout.lost import clock, is_lost, until_back
from fleet.rollout.switching import serves
from fleet.transport import Transport
from fleet.transport.base import Reply
from fleet.transport.fake import FakeTransport

CUT_OFF = Reply("", "", -1)
BROKE = Unreachable("the line broke", where="h1")


def no_end(status: int = -1) -> CommandFailed:
    return CommandFailed("it came to no end", command="sh", status=status, where="h1")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def after(*errors: HostError) -> Callable[[], str]:
    left = list(errors)

    def what() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return what


def asked(what: Callable[[], str], seconds: float = 5, stopped: bool = False) -> str:
    ended = threading.Event()
    if stopped:
        ended.set()
    return until_back(what, FakeTransport("h1"), seconds, ended, lambda text: None)


def test_who_is_back_is_asked_again() -> None:
    assert asked(after(BROKE, no_end())) == "answer"


@pytest.mark.parametrize(
    "error", [no_end(1), HostError("no", where="h1"), Unreachable("a gateway's line broke", where="g1")]
)
def test_a_no_and_another_machine_that_is_gone_are_no_reason_to_wait(error: HostError) -> None:
    with pytest.raises(HostError) as raised:
        asked(after(error))
    assert raised.value is error


def test_nobody_is_waited_for_beyond_the_time_or_after_ctrl_c() -> None:
    for told in ({"seconds": 0.0}, {"stopped": True}):
        with pytest.raises(Unreachable):
            asked(after(BROKE, BROKE), **told)


@pytest.mark.parametrize(
    "ask",
    [marker.read, clock, lambda transport: serves(transport, "qwen", "aaa")],
)
def test_an_answer_that_was_cut_off_is_an_error(ask: Callable[[Transport], object]) -> None:
    with pytest.raises(HostError) as raised:
        ask(FakeTransport("h1", [("", CUT_OFF)]))
    assert is_lost(raised.value)


def test_a_look_that_was_cut_off_says_nothing_not_even_half() -> None:
    live = Live("qwen", "aaa", "http://h:1", "m", False, None, "m", "")
    whole = 'said={"steady": {"failed": null}}\nActiveState=active\nSubState=running\nrunning=true\n'
    seen = look(FakeTransport("h1", [("", Reply(whole, "", -1))]), live, "steady", seconds=1, since=1.0)
    assert (dict(seen.seen), dict(seen.said)) == ({}, {})
    assert "no whole answer" in seen.error
