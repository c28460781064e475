"""The lab's shapes: who is in them, and that no two of a shape stand in each other's way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from fleet.lab import names, simulated
from fleet.lab.names import SHAPES, LabHost

ROOT = Path(__file__).resolve().parents[3]
EACH = pytest.mark.parametrize("shape", SHAPES)


@EACH
def test_every_host_has_a_name_and_an_address_of_its_own(shape: str) -> None:
    hosts = SHAPES[shape]

    assert len({host.name for host in hosts}) == len({host.address for host in hosts}) == len(hosts)
    assert all(host.address.startswith(f"{names.NETWORK}.") for host in hosts)


@EACH
def test_its_inventory_names_the_same_hosts(shape: str) -> None:
    file = ROOT / "inventory" / f"{'lab' if shape == 'three' else shape}.yml"

    assert sorted(_hosts(yaml.safe_load(file.read_text())["all"])) == sorted(host.name for host in SHAPES[shape])


def _hosts(group: dict[str, dict[str, dict[str, object]]]) -> list[str]:
    below = [name for child in (group.get("children") or {}).values() for name in _hosts(child)]  # type: ignore[arg-type]  # a group is made of groups
    return [*(group.get("hosts") or {}), *below]


@EACH
def test_a_gateway_has_no_gpu_and_everybody_else_has(shape: str) -> None:
    for host in SHAPES[shape]:
        assert (simulated.gpu_rows(host) == "") == host.name.startswith("g")


def test_twelve_hosts_are_of_four_classes_so_that_there_are_canaries_and_waves() -> None:
    classes = Counter((host.gpu, host.count) for host in SHAPES["twelve"] if host.count)

    assert sum(classes.values()) == 12
    assert len(classes) == 4


def test_what_another_shape_left_behind_is_known_too() -> None:
    assert {host.name for hosts in SHAPES.values() for host in hosts} == {host.name for host in names.EVERY}


def test_hosts_of_one_name_lie_in_one_place_whatever_the_shape() -> None:
    def gateway(shape: str) -> LabHost:
        return next(host for host in SHAPES[shape] if host.name == "g1")

    assert gateway("three").place == gateway("twelve").place
    assert gateway("three").namespace == gateway("twelve").namespace
