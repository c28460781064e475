"""Hosts that a run takes no part in: what they serve, by the inventory alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.cli.beside import beside
from fleet.inventory import load

FLEET = """
all:
  hosts:
    h1: {instances: [{name: vl, model: m, served_name: "{{ as }}", api_key: "{{ lookup('file', '/not/there') }}"}]}
    h2: {site: south, instances: "{{ like_h1 }}"}
    broken: {image: {reff: x}, instances: [{name: vl, model: m}]}
    untold: {instances: [{name: vl, model: "{{ nobody_says }}"}]}
    wrong: {instances: [{name: vl}]}
    db: {}
  vars: {as: qwen, like_h1: [{name: vl, model: m, served_name: qwen, port: 1}]}
"""


@pytest.fixture
def told(tmp_path: Path) -> dict[str, tuple[str, list[str]]]:
    (tmp_path / "inv.yml").write_text(FLEET)
    found = beside(load([tmp_path / "inv.yml"]), {"h9"})
    return {name: (told.site, [i.served_name for i in told.instances]) for name, told in found.items()}


def test_names_and_sites_are_known_though_a_key_cannot_be_looked_up(told: dict[str, tuple[str, list[str]]]) -> None:
    assert (told["h1"], told["h2"]) == (("", ["qwen"]), ("south", ["qwen"]))


def test_a_slip_elsewhere_says_nothing_of_what_a_host_serves(told: dict[str, tuple[str, list[str]]]) -> None:
    assert told["broken"] == ("", ["m"])


def test_one_of_which_it_cannot_be_told_counts_for_nothing_and_fails_nobody(
    told: dict[str, tuple[str, list[str]]],
) -> None:
    assert sorted(told) == ["broken", "h1", "h2"]


def test_those_that_are_left_out_are_not_even_read(tmp_path: Path) -> None:
    (tmp_path / "inv.yml").write_text(FLEET)
    assert sorted(beside(load([tmp_path / "inv.yml"]), {"h1", "broken"})) == ["h2"]
