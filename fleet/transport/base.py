"""The seam between the engine and a host: run a command, get a reply."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol


@dataclass(frozen=True)
class Reply:
    """What a command printed and how it ended (-1: it never ended, the connection broke or time ran out)."""

    stdout: str
    stderr: str
    status: int

    @property
    def ok(self) -> bool:
        """Whether the command ended with 0."""
        return self.status == 0


class Held(Protocol):
    """A command that stays open on the host as long as this side lives: what the host's lock hangs on."""

    def alive(self) -> bool:
        """Whether it is still running on the host."""

    def release(self) -> None:
        """End it."""


class Transport(Protocol):
    """One host's line. Every command runs as root (sudo where the login isn't root), by ``sh -c``."""

    name: str
    commands: int

    def run(self, command: str, stdin: bytes | None = None, *, timeout: float = 60.0) -> Reply:
        """Run ``command``; ``stdin`` is given to it and then closed.

        Raises:
            HostError: no connection (Unreachable, HostKeyError) or no permission (AuthError). A command that fails is
                a Reply, not an error.
        """

    def hold(self, command: str) -> tuple[Held, str]:
        """Start ``command``, wait for its first line, leave it running: (the hold, that first line)."""

    def drop(self) -> None:
        """Forget the connection, as after a reboot: the next command makes a new one."""

    def close(self) -> None:
        """End the connection for good, and with it what is held; nothing more is sent to the host."""

    def __enter__(self) -> Transport: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
