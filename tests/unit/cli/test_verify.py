from __future__ import annotations

import json
from pathlib import Path

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from fleet.cli.verify import collection, verify


@pytest.fixture
def inventory(tmp_path: Path) -> list[str]:
    """Two hosts at whose address nothing answers."""
    file = tmp_path / "hosts.yml"
    image = f"{{ref: 'vllm/vllm-openai:v0.8.2', digest: 'sha256:{'0' * 64}'}}"  # said, so that no registry is asked
    hosts = "{h1: {}, h2: {}}"
    file.write_text(f"all: {{hosts: {hosts}, vars: {{ansible_host: 127.0.0.1, ansible_port: 1, image: {image}}}}}\n")
    return [str(file)]


def test_hosts_that_do_not_answer_end_with_1_and_are_in_the_document(
    inventory: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as ended:
        verify(Context(), inventory=inventory, json=True, timeout=5.0, junit=str(tmp_path / "verify.xml"))
    assert ended.value.code == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == 2
    assert {host: checks["connection"] for host, checks in found["hosts"].items()} == {"h1": "failed", "h2": "failed"}
    assert "is it up" in found["reasons"]["h1"]["connection"]
    assert (tmp_path / "verify.xml").read_text().count("<failure") == 2


def test_for_people_it_is_a_table_with_the_reasons_and_the_counts(
    inventory: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit):
        verify(Context(), inventory=inventory, hosts="h2", timeout=5.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["host", "passed", "failed", "skipped"]
    assert lines[1].split() == ["h2", "0", "1", "5"]
    assert lines[4].startswith("h2    connection    no connection")
    assert lines[-1].startswith("Verify: 0 passed, 1 failed, ")
    assert not [line for line in lines if line.startswith("h1")]


def test_a_pattern_without_a_match_is_wrong_use(inventory: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as ended:
        verify(Context(), inventory=inventory, hosts="nobody")
    assert ended.value.code == 2
    assert "no host matches 'nobody'" in capsys.readouterr().err


def test_the_verb_is_its_collections_default() -> None:
    assert collection.default == "verify"
