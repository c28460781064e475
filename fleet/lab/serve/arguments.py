"""The command line of ``vllm serve``, judged as vLLM 0.32's own parser does, by the list that was dumped from it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

OPTIONS = Path(__file__).with_name("options.json")


class Parser(argparse.ArgumentParser):
    """Refuses as vLLM's own parser does."""

    def error(self, message: str) -> NoReturn:
        """Say it and end with 2."""
        print(f"vllm serve: error: {message}", file=sys.stderr)
        sys.exit(2)


def parser() -> Parser:
    """Every option of vLLM 0.32's own parser."""
    made = Parser(prog="vllm serve", add_help=False, allow_abbrev=False)
    made.add_argument("model_tag", nargs="?")
    for name, rows in json.loads(OPTIONS.read_text())["options"].items():
        row = next((row for row in rows if "0.32.0" in row["in"]), None)
        if row is None:
            continue
        names = [f"--{name}", *(alias for alias in row.get("aliases", ()) if not alias.startswith("--no-"))]
        kind = row["kind"]
        if kind in ("flag", "switch"):
            action: Any = argparse.BooleanOptionalAction if kind == "switch" else "store_true"
            made.add_argument(*names, dest=_dest(name), action=action, default=None)
            continue
        known: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "json": json.loads}
        several = "+" if kind == "words" else None
        choices = row.get("choices")
        made.add_argument(*names, dest=_dest(name), type=known.get(kind, str), nargs=several, choices=choices)
    return made


def tokens(value: Any) -> int:
    """``8192``, ``8k`` (1000), ``8K`` (1024), ``auto`` or -1 (0: as the model says)."""
    text = str(value or "")
    if text in ("", "auto", "-1"):
        return 0
    units = {"k": 1000, "K": 1024, "m": 10**6, "M": 2**20}
    return int(float(text[:-1]) * units[text[-1]]) if text[-1] in units else int(text)


def _dest(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")
