"""A host that exists only in a test: answers by a table, and remembers what it was asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from fleet.errors import Unreachable
from fleet.transport.base import Held, Reply

Answer = Reply | str | Callable[[str, bytes | None], Reply | str]


@dataclass
class FakeTransport:
    """``answers`` is a list of (regular expression, answer); the first that is found in the command counts.

    An answer is a Reply, a text (standard output of a command that ended with 0) or a function of command and stdin;
    a command that nothing matches ends with 127, as a shell says of a command that isn't there. ``asked`` holds every
    command with its standard input, so that a test can count and read them.
    """

    name: str = "fake"
    answers: Sequence[tuple[str, Answer]] = ()
    asked: list[tuple[str, bytes | None]] = field(default_factory=list)
    commands: int = 0
    held: int = 0
    closed: bool = False

    def run(self, command: str, stdin: bytes | None = None, *, timeout: float = 60.0) -> Reply:
        """The first answer that matches.

        Raises:
            Unreachable: it was closed.
        """
        if self.closed:
            raise Unreachable("the connection was closed", where=self.name)
        self.commands += 1
        self.asked.append((command, stdin))
        for pattern, answer in self.answers:
            if re.search(pattern, command, re.DOTALL):
                given = answer(command, stdin) if callable(answer) else answer
                return Reply(given, "", 0) if isinstance(given, str) else given
        return Reply("", f"sh: nothing answers {command[:80]!r}", 127)

    def hold(self, command: str) -> tuple[Held, str]:
        """As :meth:`run`, and counted in ``held`` until it is released."""
        reply = self.run(command)
        self.held += 1
        return _FakeHeld(self), reply.stdout.splitlines()[0] if reply.stdout else ""

    def drop(self) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """No more answers."""
        self.closed = True

    def __enter__(self) -> FakeTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _FakeHeld:
    def __init__(self, owner: FakeTransport) -> None:
        self._owner = owner
        self._alive = True

    def alive(self) -> bool:
        return self._alive

    def release(self) -> None:
        if self._alive:
            self._owner.held -= 1
            self._alive = False
