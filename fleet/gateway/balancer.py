"""What a rollout asks of whatever stands before the instances. A server is ``HOST:INSTANCE``.

A server's *way* is how requests get to it, ``MODEL:KEYID@ADDRESS:PORT``: what it serves (its slug), the key that it
asks for and where it listens. They change only when the instance itself does, so each gateway remembers the way of
each server as it is now.
"""

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
    put back by itself, ``way`` how it gets its requests, ``who`` drained it, ``well`` are the ways on which its checks
    pass now (empty too where a balancer knows none).
    """

    server: str
    up: bool
    admin: str
    sessions: int
    expires: float | None
    way: str
    who: str
    well: tuple[str, ...] = ()

    def is_well(self, way: str) -> bool:
        """Whether it is seen healthy on this way: a whole one, a key's id alone, or empty for any."""
        if not way or not self.well:
            return self.up
        return any(has == way or f":{way}@" in has for has in self.well)


class Balancer(Protocol):
    """One gateway. Every method is one command, may be repeated, and raises HostError where it fails."""

    name: str

    def drain(self, servers: Sequence[str], *, seconds: int, who: str) -> None:
        """No new request goes to ``servers``, for ``seconds`` at most; those under way go on. Again: a new term."""

    def ready(self, servers: Mapping[str, str]) -> None:
        """Requests may go to each server again; its value is its way now, empty where that is as it was.

        Of a way only the key's id is said where no more is known of it.
        """

    def states(self) -> Mapping[str, ServerState]:
        """Every server that the balancer knows."""


def server_name(host: str, instance: str) -> str:
    """What an instance is called at every balancer."""
    return f"{host}:{instance}"


def key_id(key: Secret | None) -> str:
    """A name for a key that tells nothing about it: seen in configurations, states and releases."""
    return slow_digest(key.reveal(), "key")[:12] if key else OPEN


def split_way(way: str) -> tuple[str, str, str]:
    """A way's model, key and address; each empty where it isn't said."""
    to, _, at = way.partition("@")
    model, _, key = to.rpartition(":")
    return model, key, at
