"""All gateways as one: what one of them can't be told is told to the others all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fleet.errors import HostError
from fleet.gateway.balancer import ServerState
from fleet.gateway.executables import Behind, ExecutableBalancer
from fleet.rollout.balancers import Balancers
from fleet.settings import Gateway as Told


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


@pytest.mark.parametrize(
    ("said", "serves"), [("up ready 0", True), ("up drain 3", False), ("down ready 0", False), ("", True)]
)
def test_executables_without_a_state_say_that_all_serve_and_with_one_what_it_prints(
    said: str, serves: bool, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.write_text(f"#!/bin/sh\necho {said}\n")
    state.chmod(0o700)
    told = {"drain": "/bin/true", "undrain": "/bin/true"} | ({"state": str(state)} if said else {})
    servers = [Behind(f"h{number}:vl", "192.0.2.1", 8000, "m") for number in range(1, 5)]
    own = ExecutableBalancer(Told.model_validate(told), servers)
    assert Balancers([own]).serving() == {each.server: serves for each in servers}
