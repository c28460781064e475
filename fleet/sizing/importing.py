"""How a new vLLM comes into the catalog: the parser's own dump becomes rows of ``data/options.json``.

    python -m fleet.sizing.importing flags-0.34.0.json

The dump lists the argparse actions of ``vllm serve`` (name, aliases, type, choices, nargs, action), taken inside the
released wheel. Versions that share a row's form share the row, so the file stays readable and its diff small.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OPTIONS = Path(__file__).parent / "data" / "options.json"

#: argparse's type functions, in our words. Those that hide what is inside are looked at by name, below.
KINDS: Mapping[str, str] = {
    "int": "int",
    "float": "float",
    "loads": "json",
    "from_json": "json",
    "parse_dataclass": "object",
    "union_dict_and_str": "text",
    "_parse_type": "json",
    "nullable_kvs": "counts",
    "human_readable_int": "size",
    "human_readable_int_or_auto": "size-or-auto",
}
#: Options whose type function says only 'or None'. An inner int or JSON is told by the option's meaning and name.
HIDDEN_JSON = re.compile(r"-config$|-kwargs$|^default-mm-loras$|^hf-overrides$|^custom-histogram-buckets$")
HIDDEN_INT = re.compile(
    r"^(max-(cpu-loras|log-len|num-|parallel-|lora-cls)|num-|kv-cache-memory-bytes|mamba-block-size|grpc-port"
    r"|(cpu-)?distributed-timeout-seconds|data-parallel-(size-local|start-rank|rank|rpc-port)$|max-cudagraph-capture-size|prefix-(cache-retention-interval|match-unit)$)"
)
HIDDEN_SIZE = frozenset(
    {"kv-cache-memory-bytes", "max-num-batched-tokens", "max-num-queued-tokens", "max-num-scheduled-tokens"}
)
HIDDEN_FLOAT = frozenset({"kv-offloading-size", "video-pruning-rate"})
WORDS_OF_INTS = frozenset({"cudagraph-capture-sizes", "numa-bind-nodes"})
#: Of the options of that name those that take any JSON; the others take an object.
ANY_JSON = frozenset({"diffusion-config", "speculative-config", "watermark-config"})


def kind_of(flag: Mapping[str, Any]) -> str:
    """The kind of value that one dumped action takes, in the words of :mod:`fleet.sizing.options`."""
    name, action, nargs = str(flag["name"]).lstrip("-"), flag["action"], flag["nargs"]
    if action in ("BooleanOptionalAction", "EnableDisableAction"):
        return "switch"
    if action == "StoreBoolean":
        return "boolean"
    if action in ("_StoreTrueAction", "_HelpAction") or nargs == 0:
        return "flag"
    if nargs == "+" or action in ("_AppendAction", "LoRAParserAction", "PromptAdapterParserAction"):
        return "ints" if name in WORDS_OF_INTS else "words"
    kind = KINDS.get(str(flag["type"]))
    if kind:
        return kind
    if flag["type"] == "_optional_type":
        if HIDDEN_JSON.search(name):
            return "object" if name.endswith("-config") and name not in ANY_JSON else "json"
        if name in HIDDEN_FLOAT:
            return "float"
        if name in HIDDEN_SIZE:
            return "size"
        if HIDDEN_INT.search(name):
            return "int"
    return "text"


def row_of(flag: Mapping[str, Any]) -> dict[str, Any]:
    """One dumped action as a row, without the versions that it holds for."""
    row: dict[str, Any] = {"kind": kind_of(flag)}
    if flag.get("choices"):
        row["choices"] = sorted(str(choice) for choice in flag["choices"])
    if flag.get("aliases"):
        row["aliases"] = list(flag["aliases"])
    return row


def merge(catalog: dict[str, Any], dump: Mapping[str, Any]) -> None:
    """Put every option of ``dump`` into ``catalog``, in place; a version already there is replaced."""
    version = str(dump["vllm_version"])
    versions = set(catalog.setdefault("versions", [])) | {version}
    catalog["versions"] = sorted(versions, key=lambda v: [int(part) for part in v.split(".")])
    options: dict[str, list[dict[str, Any]]] = catalog.setdefault("options", {})
    for rows in options.values():
        for row in rows:
            row["in"] = [v for v in row["in"] if v != version]
    for flag in dump["flags"]:
        if flag.get("positional"):
            continue
        row = row_of(flag)
        rows = options.setdefault(str(flag["name"]).lstrip("-"), [])
        same = next((r for r in rows if {k: v for k, v in r.items() if k != "in"} == row), None)
        if same is None:
            rows.append({**row, "in": [version]})
        else:
            same["in"] = [v for v in catalog["versions"] if v in same["in"] or v == version]
    catalog["options"] = {
        name: kept for name, rows in sorted(options.items()) if (kept := [row for row in rows if row["in"]])
    }


def write(catalog: Mapping[str, Any], path: Path) -> None:
    """One option a line, so that a new version shows as a diff that a person can read."""
    head = {key: value for key, value in catalog.items() if key != "options"}
    lines = [f"  {json.dumps(name)}: {json.dumps(rows)}" for name, rows in catalog["options"].items()]
    text = json.dumps(head, indent=1, ensure_ascii=False)[:-2] + ',\n "options": {\n' + ",\n".join(lines) + "\n }\n}\n"
    path.write_text(text, encoding="utf-8")


def main(paths: list[str]) -> None:
    """Merge each dump named on the command line into the catalog."""
    catalog: dict[str, Any] = json.loads(OPTIONS.read_text(encoding="utf-8")) if OPTIONS.exists() else {}
    for path in paths:
        merge(catalog, json.loads(Path(path).read_text(encoding="utf-8")))
    write(catalog, OPTIONS)


if __name__ == "__main__":
    main(sys.argv[1:])
