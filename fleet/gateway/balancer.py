"""What a rollout asks of whatever stands before the instances. A server is ``HOST:INSTANCE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from fleet.secret import Secret, slow_digest

#: The key id of a server that asks for no key.
OPEN: Final = "open"


@dataclass(frozen=True)
class ServerState:
    """One server as one balancer has it.

    ``up`` is what its health check says; ``admin`` is ``ready``, ``drain`` or ``maint`` (``unknown`` where a balancer
    can't tell); ``sessions`` are requests under way there. ``expires`` (seconds since 1970) is when a drained one is
    put back by itself, ``key`` the id of the key that it is given, ``who`` drained it.
    """

    server: str
    up: bool
    admin: str
    sessions: int
    expires: float | None
    key: str
    who: str


class Balancer(Protocol):
    """One gateway. Every method is one command, may be repeated, and raises HostError where it fails."""

    name: str

    def drain(self, servers: Sequence[str], *, seconds: int, who: str) -> None:
        """No new request goes to ``servers``, for ``seconds`` at most; those under way go on. Again: a new term."""

    def ready(self, servers: Mapping[str, str]) -> None:
        """Requests may go to each server again; its value is the id of its key now, empty where that is as it was."""

    def states(self) -> Mapping[str, ServerState]:
        """Every server that the balancer knows."""


def server_name(host: str, instance: str) -> str:
    """What an instance is called at every balancer."""
    return f"{host}:{instance}"


def key_id(key: Secret | None) -> str:
    """A name for a key that tells nothing about it: seen in configurations, states and releases."""
    return slow_digest(key.reveal(), "key")[:12] if key else OPEN
