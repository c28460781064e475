"""The catalog's data files, and the one way to read them. Each file names its sources and dates in itself."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def read(name: str) -> dict[str, Any]:
    """The JSON document ``name`` of this directory, read once a process; treat it as read-only."""
    document: dict[str, Any] = json.loads(files(__name__).joinpath(name).read_text(encoding="utf-8"))
    return document
