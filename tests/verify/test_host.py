"""A host by itself: it answers, shows its GPUs with the right driver, wants no reboot, and runs Docker."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from fleet.errors import FleetError
from fleet.target import Target
from tests.verify.seen import reached


def test_connection(target: Target | FleetError) -> None:
    if isinstance(target, FleetError):
        raise target


def test_gpus(target: Target | FleetError) -> None:
    """The driver shows every GPU that is on the bus."""
    facts = reached(target).facts
    on_bus = [gpu for gpu in facts.pci_gpus if not gpu.is_nvswitch]
    if not on_bus and not facts.gpus:
        pytest.skip("no NVIDIA GPUs here")
    assert facts.gpus, f"nvidia-smi shows none: {facts.smi_error or 'it is not installed'}"
    assert len(facts.gpus) == len(on_bus), f"{len(on_bus)} GPUs on the bus, nvidia-smi shows {len(facts.gpus)}"


def test_driver(target: Target | FleetError) -> None:
    """What is loaded is what was told, and what lies on disk."""
    facts, told = reached(target).facts, reached(target).settings.driver
    if not facts.pci_gpus and not facts.gpus:
        pytest.skip("no NVIDIA GPUs here")
    loaded = facts.driver_loaded
    assert loaded, "no driver is loaded"
    assert facts.driver_on_disk in ("", loaded), f"{loaded} is loaded, {facts.driver_on_disk} is on disk: reboot"
    if told.version:
        assert told.version.startswith(loaded), f"{loaded} is loaded, driver.version says {told.version}"
    elif told.branch:
        assert loaded.partition(".")[0] == str(told.branch), f"{loaded} is loaded, driver.branch says {told.branch}"


def test_no_reboot_is_pending(target: Target | FleetError) -> None:
    assert not reached(target).facts.reboot_required, "the system asks for a reboot (/run/reboot-required)"


def test_docker(target: Target | FleetError, host: Host) -> None:
    facts = reached(target).facts
    if reached(target).only_gateway:
        pytest.skip("a gateway runs no containers")
    assert facts.docker_version, f"Docker doesn't answer: {facts.docker_error or 'it is not installed'}"
    enabled = host.run("systemctl is-enabled docker.service")
    assert enabled.rc == 0, f"docker.service is {enabled.stdout.strip()}: nothing would run after a reboot"


def test_nothing_is_left_of_former_instances(target: Target | FleetError) -> None:
    told = {instance.name for instance in reached(target).settings.instances}
    left = sorted({*reached(target).facts.instances, *reached(target).facts.serving} - told)
    assert not left, f"no longer in the inventory, still here: {', '.join(left)} (./inv rollout removes them)"
