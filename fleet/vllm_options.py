"""vLLM's options as words of a command line. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def render(args: Mapping[str, Any], version: str) -> list[str]:
    """``args`` (names without dashes, values as YAML gives them) as ``vllm serve`` of ``version`` takes them.

    ``true`` is a bare flag, ``false`` its ``no-`` form; a dictionary is JSON, save where the version wants ``a=1,b=2``
    (limit-mm-per-prompt before 0.9).
    """
    words: list[str] = []
    for name, value in args.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif value is False:
            words.append("--no-" + option[2:])
        elif isinstance(value, dict) and option == "--limit-mm-per-prompt" and version.startswith("0.8."):
            words += [option, ",".join(f"{key}={count}" for key, count in value.items())]
        elif isinstance(value, dict):
            words += [option, json.dumps(value, separators=(",", ":"), ensure_ascii=False)]
        elif isinstance(value, (list, tuple)):
            words += [option, *map(str, value)]
        elif value is not None:
            words += [option, str(value)]
    return words
