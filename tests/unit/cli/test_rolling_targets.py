"""Whom a rollback takes where: hosts that can't go back keep no other from it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from fleet.cli import rolling
from fleet.crew import Crew
from fleet.errors import FleetError, Unreachable
from fleet.transport import Transport
from fleet.transport.fake import FakeTransport

TWO = "release+=qwen bbb -,current,good 2 7 {}\nrelease+=qwen aaa -,good 1 5 {}\nend=yes\n"
ONE = "release+=qwen bbb -,current,good 1 7 {}\nend=yes\n"


def session(hosts: dict[str, str | None]) -> SimpleNamespace:
    """A session over these hosts; None has no way in."""

    def transport(name: str) -> Transport:
        def releases(command: str, stdin: bytes | None) -> str:
            told = hosts[name]
            if told is None:
                raise Unreachable("no route to host", where=name)
            return told

        answers: list[tuple[str, str | Callable[[str, bytes | None], str]]] = [("release\\+=", releases), ("", "")]
        return FakeTransport(name, answers)

    return SimpleNamespace(names=list(hosts), crew=Crew(transport))


def test_one_dead_host_keeps_no_other_from_going_back() -> None:
    told, failed = rolling.targets(session({"h1": TWO, "h2": None, "h3": TWO, "h4": ONE}), 0)  # type: ignore[arg-type]  # as much of one as is asked
    assert told == {"h1": {"qwen": "aaa"}, "h3": {"qwen": "aaa"}}
    assert {name: result.unreachable for name, result in failed.items()} == {"h2": 1}


def test_a_host_without_the_asked_release_fails_alone_and_says_what_it_has() -> None:
    told, failed = rolling.targets(session({"h1": TWO, "h4": ONE}), 1)  # type: ignore[arg-type]  # as much of one as is asked
    assert told == {"h1": {"qwen": "aaa"}}
    assert failed == {}  # it serves number 1 already
    told, failed = rolling.targets(session({"h1": TWO, "h4": TWO.replace(" 1 5", " 3 5")}), 1)  # type: ignore[arg-type]  # as much of one as is asked
    assert (list(told), list(failed)) == (["h1"], ["h4"])
    assert "there are: 3, 2" in failed["h4"].failures[0].hint


@pytest.mark.parametrize(
    ("hosts", "words"), [({"h1": ONE}, "no host has an earlier release"), ({"h1": None}, "no route")]
)
def test_where_nobody_can_go_back_it_says_why(hosts: dict[str, str | None], words: str) -> None:
    with pytest.raises(FleetError, match=words):
        rolling.targets(session(hosts), 0)  # type: ignore[arg-type]  # as much of one as is asked
