from __future__ import annotations

from pathlib import Path

import pytest

from fleet.cli.session import Options, open_session
from fleet.errors import InputError

INSTANCES = "instances: [{name: vl, model: Qwen/Qwen2.5-VL-7B-Instruct, api_key: k3y-k3y-k3y}]"
FLEET = f"""
all:
  vars: {{ansible_user: root}}
  children:
    gpu:
      hosts: {{h1: {{ansible_host: 192.0.2.11}}, h2: {{ansible_host: 192.0.2.12}}}}
      vars: {{{INSTANCES}}}
    other:
      hosts: {{db: {{ansible_host: db.lan}}}}
"""
GATEWAY = "    gateway:\n      hosts: {g1: {ansible_host: 192.0.2.1}}\n"


def options(path: Path, text: str, hosts: str) -> Options:
    path.joinpath("inv.yml").write_text(text)
    return Options(hosts=hosts, inventory=(str(path / "inv.yml"),))


def test_a_run_over_one_host_reaches_every_gateway_and_knows_every_server(tmp_path: Path) -> None:
    with open_session(options(tmp_path, FLEET + GATEWAY, "h1"), (), doing="t", look_up=False, quiet=True) as session:
        assert session.names == list(session.settings) == ["h1"]
        assert list(session.gateways) == ["g1"]
        assert {name: told.instances[0].listen for name, told in session.peers.items()} == {
            "h1": "192.0.2.11", "h2": "192.0.2.12"
        }  # fmt: skip
        assert session.crew.transport("g1").name == "g1"
        assert (list(session.lookups.peers), list(session.lookups.gateways)) == (["h1", "h2"], ["g1"])


def test_without_a_gateway_nobody_but_the_picked_hosts_is_looked_at(tmp_path: Path) -> None:
    broken = FLEET.replace("192.0.2.12}", "192.0.2.12, image: {reff: x}}")
    with open_session(options(tmp_path, broken, "h1"), (), doing="t", look_up=False, quiet=True) as session:
        assert (session.gateways, session.peers) == ({}, {})
        assert session.settings["h1"].instances[0].listen == "127.0.0.1"
    with pytest.raises(InputError, match="reff"):
        open_session(options(tmp_path, broken + GATEWAY, "h1"), (), doing="t", look_up=False, quiet=True)
