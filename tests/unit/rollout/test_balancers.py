"""All gateways as one: what one of them can't be told is told to the others all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from fleet.errors import HostError
from fleet.gateway.balancer import ServerState
from fleet.rollout.balancers import Balancers


class Gateway:
    """Knows one server; ``gone`` answers nothing."""

    def __init__(self, name: str, *, gone: bool = False, admin: str = "ready") -> None:
        self.name, self.gone, self.admin = name, gone, admin
        self.drained: list[str] = []

    def states(self) -> Mapping[str, ServerState]:
        if self.gone:
            raise HostError("gone", where=self.name)
        return {"h1:a": ServerState("h1:a", True, self.admin, 0, None, "", "")}

    def drain(self, servers: Sequence[str], *, seconds: int, who: str) -> None:
        self.drained.extend(servers)

    def ready(self, servers: Mapping[str, str]) -> None:
        raise AssertionError("nobody asked for it")


def test_a_drain_is_renewed_at_every_gateway_that_is_there_though_another_is_gone() -> None:
    gone, there = Gateway("g1", gone=True), Gateway("g2")
    with pytest.raises(HostError, match="gone"):
        Balancers([gone, there], patience=0).drain(["h1:a", "h1:b"], seconds=60, who="me r1")
    assert there.drained == ["h1:a"]


@pytest.mark.parametrize(("second", "serves"), [("ready", True), ("unknown", True), ("drain", False), ("maint", False)])
def test_a_server_serves_where_every_gateway_sends_it_requests_or_cannot_tell(second: str, serves: bool) -> None:
    assert Balancers([Gateway("g1"), Gateway("g2", admin=second)]).serving() == {"h1:a": serves}
