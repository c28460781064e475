"""Docker that goes away in the middle of a question says nothing about the release; anything else does."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from fleet.errors import CommandFailed
from fleet.rollout import gates
from fleet.rollout.judge import Limits
from fleet.rollout.live import Live
from fleet.transport.fake import FakeTransport

LIVE = Live("qwen", "r1", "http://h:1", "m", False, None, "m", "")


def failing(words: str, times: int) -> tuple[list[str], gates._Run, Callable[[], str]]:
    asked: list[str] = []
    run = gates._Run(FakeTransport("h1"), LIVE, Limits(), lambda text: None, None)
    left = iter([CommandFailed(words, command="docker exec", status=1, stderr="", where="h1")] * times)

    def ask() -> str:
        asked.append("asked")
        for error in left:
            raise error
        return "answered"

    return asked, run, ask


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def test_a_question_that_docker_cut_off_is_asked_again() -> None:
    asked, run, ask = failing("fleet-qwen can't be asked: Error response from daemon: No such exec instance: c18", 2)
    assert run.asked(ask) == "answered"
    assert asked == ["asked"] * 3


def test_a_container_that_does_not_run_is_the_releases_own_fault() -> None:
    asked, run, ask = failing("fleet-qwen can't be asked: Error response from daemon: container c18 is not running", 1)
    with pytest.raises(CommandFailed, match="is not running"):
        run.asked(ask)
    assert asked == ["asked"]
