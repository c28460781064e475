"""All gateways as one: what one of them can't be told is told to the others all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from fleet.errors import HostError
from fleet.gateway.balancer import ServerState
from fleet.rollout.balancers import Balancers


class Gateway:
    """Knows one server; ``gone`` answers nothing."""

    def __init__(self, name: str, *, gone: bool = False) -> None:
        self.name, self.gone = name, gone
        self.drained: list[str] = []

    def states(self) -> Mapping[str, ServerState]:
        if self.gone:
            raise HostError("gone", where=self.name)
        return {"h1:a": ServerState("h1:a", True, "ready", 0, None, "", "")}

    def drain(self, servers: Sequence[str], *, seconds: int, who: str) -> None:
        self.drained.extend(servers)

    def ready(self, servers: Mapping[str, str]) -> None:
        raise AssertionError("nobody asked for it")


def test_a_drain_is_renewed_at_every_gateway_that_is_there_though_another_is_gone() -> None:
    gone, there = Gateway("g1", gone=True), Gateway("g2")
    with pytest.raises(HostError, match="gone"):
        Balancers([gone, there], patience=0).drain(["h1:a", "h1:b"], seconds=60, who="me r1")
    assert there.drained == ["h1:a"]
