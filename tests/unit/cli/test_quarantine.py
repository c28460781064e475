from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.test_program import inv

IMAGE = f"{{ref: 'vllm/vllm-openai:v0.8.2', digest: 'sha256:{'0' * 64}'}}"  # said, so that no registry is asked
VARS = f"{{ansible_host: 127.0.0.1, ansible_port: 1, image: {IMAGE}}}"  # nothing answers there


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """An inventory that is a directory, with two hosts at whose address nothing answers."""
    path = tmp_path / "inventory"
    path.mkdir()
    (path / "hosts.yml").write_text(f"all: {{hosts: {{h1: {{}}, h2: {{}}}}, vars: {VARS}}}\n")
    return path


def run(inventory: Path, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    return inv(verb, "--inventory", str(inventory), *words, FLEET_HOME=str(inventory.parent / "home"))


def test_a_host_in_quarantine_is_left_out_with_its_reason_and_shown_all_the_same(inventory: Path) -> None:
    said = run(inventory, "quarantine", "--hosts", "h1", "--why", "GPU 2 throws Xid 79", "--for", "2h")
    assert said.returncode == 0, said.stderr
    assert "commit it" in said.stderr
    assert (inventory.parent / "quarantine.json").exists()  # beside: in it, it would be read as an inventory
    listed = run(inventory, "quarantine", "--json")
    row = json.loads(listed.stdout)["h1"]
    assert row["why"] == "GPU 2 throws Xid 79"
    words = f"h1 is left out: in quarantine until {row['until']}: GPU 2 throws Xid 79"

    both = run(inventory, "provision", "--json", "--timeout", "2")
    assert both.returncode == 1  # for h2, which doesn't answer
    assert list(json.loads(both.stdout)["hosts"]) == ["h2"]
    assert words in both.stderr
    alone = run(inventory, "rollout", "--json", "--hosts", "h1")
    assert (alone.returncode, json.loads(alone.stdout)["hosts"]) == (0, {})
    assert words in alone.stderr
    status = run(inventory, "status", "--hosts", "h1", "--timeout", "2")
    assert "h1" in status.stdout
    assert "h1 is in quarantine until" in status.stderr

    assert run(inventory, "quarantine.end", "--hosts", "all").stderr.endswith("1 of 2 host(s) taken back in\n")
    assert json.loads(run(inventory, "quarantine.list", "--json").stdout) == {}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["quarantine", "--why", "x"], "which hosts"),
        (["quarantine", "--hosts", "h1", "--for", "2d"], "why?"),
        (["quarantine", "--hosts", "h1", "--why", "x", "--for", "2 weeks"], "30m, 2h, 2d"),
        (["quarantine", "--hosts", "h9", "--why", "x"], "no host matches"),
        (["quarantine.end"], "which hosts?"),
    ],
)
def test_wrong_use_ends_with_2_and_writes_nothing(inventory: Path, words: list[str], hint: str) -> None:
    done = run(inventory, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert not (inventory.parent / "quarantine.json").exists()
