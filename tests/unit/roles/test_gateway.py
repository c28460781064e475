from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleet.facts import Disk, Listener
from fleet.resources import Service
from fleet.resources.gateway import GatewayConfig
from fleet.resources.gateway_gone import GatewayGone
from fleet.settings import HostSettings
from fleet.target import Target
from roles import ROLES, gateway
from tests.targets import facts, instance, target

HOST = {"address": "192.0.2.11", "instances": [instance(listen="192.0.2.11", api_key="key-of-h1")]}
DEBIAN = {
    "os_id": "debian", "os_version": "12", "package_manager": "apt", "arch": "x86_64", "systemd": 252, "root": True,
    "memory_kib": 2 * 1024**2, "disks": (Disk("/", "/dev/vda1", 10**8, 10**7),),
}  # fmt: skip


def host(known: Mapping[str, Any] | None = None, *, is_gateway: bool = True, **told: Any) -> Target:
    settings = HostSettings.model_validate({"address": "192.0.2.1", **told})
    peers = {"h1": HostSettings.model_validate(HOST)}
    return Target("g1", settings, facts(**{**DEBIAN, **(known or {})}), peers=peers, gateway=is_gateway)


def words(told: Target) -> str:
    return "\n".join(problem.words for problem in gateway.problems(told))


def test_haproxy_comes_without_its_own_service_and_runs_under_ours() -> None:
    ids = [resource.id for resource in gateway.resources(host())]
    assert ids[:2] == ["masked:haproxy.service", "packages:haproxy+1"]
    assert ids[-4:] == [
        "gateway:config", "service:fleet-gateway.service", "gateway:running", "service:fleet-gateway-sweep.timer"
    ]  # fmt: skip


def test_selinux_that_keeps_haproxy_from_its_ports_is_said_before_anything_changes() -> None:
    assert "SELinux" in words(host({"haproxy_confined": True}))
    assert "SELinux" not in words(host())


def test_a_host_that_is_only_a_gateway_gets_no_driver_no_containers_no_image_and_no_complaints() -> None:
    told = host()
    ids = [resource.id for role in ROLES for resource in role.resources(told)]
    assert not [name for name in ids if "docker" in name or "nvidia" in name or "image" in name or "weights" in name]
    assert "directory:/etc/fleet" in ids
    said = [problem.words for role in ROLES for problem in role.problems(told)]
    assert not [word for word in said if "GPU" in word or "digest" in word or "memory" in word or "Docker" in word]


def test_a_host_with_instances_may_be_a_gateway_too() -> None:
    told = replace(target(), gateway=True, peers={"h1": HostSettings.model_validate(HOST)})
    ids = [resource.id for role in ROLES for resource in role.resources(told)]
    assert "serving:qwen" in ids


def test_who_is_no_gateway_gets_nothing_and_who_was_one_loses_it_by_a_rollout() -> None:
    assert list(gateway.resources(host(is_gateway=False))) == []
    (gone,) = gateway.resources(host({"units": {"fleet-gateway.service": "active"}}, is_gateway=False))
    assert isinstance(gone, GatewayGone)


def test_what_is_in_the_way_is_said_before_anything_is_done() -> None:
    assert words(host()) == ""
    assert "which this host doesn't have" in words(host({"addresses": (("eth0", "192.0.2.9/24"),)}))
    held = {"listeners": (Listener("0.0.0.0", 8080, "nginx"),)}
    assert "port 8080, which the gateway is to have, is held" in words(host(held))
    assert words(host({**held, "units": {"fleet-gateway.service": "active"}})) == ""
    rhel = {"os_id": "rhel", "os_version": "8.10", "package_manager": "dnf", "os_like": ("fedora",)}
    assert "HAProxy 1.8" in words(host(rhel))


def test_a_new_key_changes_the_plan_and_never_restarts_the_service() -> None:
    (service,) = [r for r in gateway.resources(host()) if isinstance(r, Service) and r.name == "fleet-gateway.service"]
    assert service.inputs == ()
    (config,) = [r for r in gateway.resources(host()) if isinstance(r, GatewayConfig)]
    assert list(config.spec.servers) == ["h1:qwen"]


@pytest.mark.parametrize("name", ["gateway", "gateway-sweep"])
def test_an_instance_cant_take_the_gateways_unit(name: str) -> None:
    with pytest.raises(ValueError, match="give the instance another"):
        HostSettings.model_validate({"instances": [instance(name)]})
