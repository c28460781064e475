"""With ``--json`` no host is left out: one that failed has its error, in the same shape at every verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from fleet.cli import gateway, lock, releases, session, trust
from fleet.errors import Unreachable
from fleet.transport import Transport
from fleet.transport.fake import FakeTransport

INSTANCES = "instances: [{name: qwen, model: Q/Q, api_key: k3y-k3y-k3y}]"


@pytest.fixture(autouse=True)
def _one_host_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """h1 answers nothing, and so does the gateway; at h2 nothing is there to see."""
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / ".fleet"))
    (tmp_path / "hosts.yml").write_text(
        "all: {vars: {ansible_user: root}, children: {gateway: {hosts: {g1: {ansible_host: 127.0.0.3}}}, gpu: {hosts: "
        "{h1: {ansible_host: 127.0.0.1, ansible_port: 1}, h2: {ansible_host: 127.0.0.2, ansible_port: 1}}, "
        f"vars: {{{INSTANCES}}}}}}}}}\n"
    )
    monkeypatch.setenv("FLEET_INVENTORY", str(tmp_path / "hosts.yml"))

    def connect(name: str) -> Transport:
        if name == "h2":
            return FakeTransport(name, [("", "end=yes\n")])
        raise Unreachable("no connection", where=name, hint="is it up?")

    monkeypatch.setattr(session, "connector", lambda *_: connect)


@pytest.mark.parametrize(
    ("verb", "host", "given"),
    [
        (tasks.status, "h1", {}),
        (releases.releases, "h1", {}),
        (lock.status, "h1", {}),
        (lock.acquire, "h1", {"yes": True}),
        (lock.release, "h1", {"yes": True}),
        (gateway.show, "g1", {}),
        (gateway.drain, "g1", {"servers": "h2", "yes": True}),
        (gateway.ready, "g1", {"servers": "h2", "yes": True}),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_a_host_that_is_down_has_its_error(
    verb: Any, host: str, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as ended:
        verb(Context(), hosts="h1", json=True, **given)
    told = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1
    assert told == {host: {"error": Unreachable("no connection", where=host, hint="is it up?").as_json()}}


def test_nobody_s_lock_is_let_go_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as ended:
        lock.release(Context(), yes=True)
    assert ended.value.code == 2
    assert "--hosts: which hosts?" in capsys.readouterr().err


def test_keys_of_hosts_that_show_none_have_their_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as ended:
        trust.trust(Context(), hosts="gpu", json=True, timeout=2)
    told = json.loads(capsys.readouterr().out)
    assert (ended.value.code, sorted(told)) == (1, ["h1", "h2"])
    assert told["h1"]["error"]["kind"] == "Unreachable"
