"""A new vLLM comes in as data: its parser's dump becomes rows, no code."""

import json
from pathlib import Path

from fleet.sizing.importing import merge, write


def flag(name: str, **other: object) -> dict[str, object]:
    return {"name": name, "type": None, "action": "_StoreAction", "nargs": None, "choices": None, "aliases": []} | other


def test_versions_that_agree_share_a_row_and_a_change_makes_a_second() -> None:
    catalog: dict[str, object] = {}
    merge(catalog, {"vllm_version": "0.10.0", "flags": [flag("--a", type="int"), flag("--b", type="int")]})
    merge(catalog, {"vllm_version": "0.9.0", "flags": [flag("--a", type="int"), flag("--b", type="float")]})
    assert catalog["versions"] == ["0.9.0", "0.10.0"]
    assert catalog["options"] == {
        "a": [{"kind": "int", "in": ["0.9.0", "0.10.0"]}],
        "b": [{"kind": "int", "in": ["0.10.0"]}, {"kind": "float", "in": ["0.9.0"]}],
    }


def test_a_version_dumped_again_replaces_itself() -> None:
    catalog: dict[str, object] = {}
    merge(catalog, {"vllm_version": "1.0", "flags": [flag("--gone", type="int")]})
    merge(catalog, {"vllm_version": "1.0", "flags": [flag("--kept", action="_StoreTrueAction", nargs=0)]})
    assert catalog["options"] == {"kept": [{"kind": "flag", "in": ["1.0"]}]}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    catalog: dict[str, object] = {"source": "a test"}
    merge(catalog, {"vllm_version": "1.0", "flags": [flag("--x", choices=["b", "a"], aliases=["-x"])]})
    write(catalog, tmp_path / "options.json")
    assert json.loads((tmp_path / "options.json").read_text()) == catalog
