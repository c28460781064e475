from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import CommandFailed
from fleet.gateway.balancers import balancers
from fleet.gateway.executables import Behind, ExecutableBalancer
from fleet.gateway.haproxy import HaproxyGateway
from fleet.settings import Gateway, HostSettings
from fleet.transport.fake import FakeTransport

ONE = Behind("h1:vl", "192.0.2.11", 8000, "Qwen2.5-VL-7B")


@pytest.fixture
def told(tmp_path: Path) -> dict[str, Any]:
    """Three programs that write down how they were called."""
    for name in ("drain", "undrain", "state"):
        program = tmp_path / name
        note = f'{{ echo "{name} $*"; env | grep ^FLEET_ | sort; }} >> {tmp_path}/calls'
        program.write_text(f"#!/bin/sh\n{note}\necho up drain 3\n")
        program.chmod(0o755)
    return {name: str(tmp_path / name) for name in ("drain", "undrain", "state")}


def balancer(told: dict[str, Any]) -> ExecutableBalancer:
    return ExecutableBalancer(Gateway.model_validate(told), (ONE,))


def test_each_is_run_once_a_server_and_told_all_there_is_to_know(told: dict[str, Any], tmp_path: Path) -> None:
    one = balancer(told)
    one.drain(["h1:vl"], seconds=600, who="me@here")
    one.ready({"h1:vl": "vl:abc@2001:db8::7:9000"})
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "drain h1:vl"
    for line in ("FLEET_ADDRESS=192.0.2.11", "FLEET_PORT=8000", "FLEET_HOST=h1", "FLEET_INSTANCE=vl",
                 "FLEET_MODEL=Qwen2.5-VL-7B", "FLEET_SECONDS=600", "FLEET_WHO=me@here"):  # fmt: skip
        assert line in calls
    assert "undrain h1:vl" in calls
    then = calls[calls.index("undrain h1:vl") :]
    for line in ("FLEET_KEY_ID=abc", "FLEET_ADDRESS=2001:db8::7", "FLEET_PORT=9000"):
        assert line in then
    state = one.states()["h1:vl"]
    assert (state.up, state.admin, state.sessions, state.expires) == (True, "drain", 3, None)


def test_who_has_no_state_is_taken_to_be_up(told: dict[str, Any]) -> None:
    state = balancer({**told, "state": None}).states()["h1:vl"]
    assert (state.up, state.admin) == (True, "unknown")


def test_a_program_that_says_no_hangs_or_isnt_there_is_a_failure_in_words(told: dict[str, Any]) -> None:
    Path(told["drain"]).write_text("#!/bin/sh\necho 'pool is locked by bob' >&2; exit 3\n")
    with pytest.raises(CommandFailed, match="drain: pool is locked by bob"):
        balancer(told).drain(["h1:vl"], seconds=1, who="me")
    Path(told["state"]).write_text("#!/bin/sh\necho maybe\n")
    with pytest.raises(CommandFailed, match="printed 'maybe'"):
        balancer(told).states()
    Path(told["undrain"]).unlink()
    with pytest.raises(CommandFailed, match="can't be run"):
        balancer(told).ready({"h1:vl": ""})
    Path(told["drain"]).write_text("#!/bin/sh\nsleep 60 & sleep 60\n")
    started = time.monotonic()
    with pytest.raises(CommandFailed, match="no end after 1 s"):
        balancer({**told, "timeout": 1}).drain(["h1:vl"], seconds=1, who="me")
    assert time.monotonic() - started < 10


def test_hosts_of_one_balancer_share_it_and_gateways_come_first(told: dict[str, Any]) -> None:
    instance = {"name": "vl", "model": "m", "port": 8000, "listen": "192.0.2.11"}
    hosts = {n: HostSettings.model_validate({"gateway": told, "instances": [instance]}) for n in ("h1", "h2")}
    found = balancers(["g1"], hosts, FakeTransport)
    assert [type(each) for each in found] == [HaproxyGateway, ExecutableBalancer]
    assert set(found[1].states()) == {"h1:vl", "h2:vl"}


def test_drain_without_undrain_is_refused() -> None:
    with pytest.raises(ValueError, match="go together"):
        Gateway.model_validate({"drain": "/x"})
