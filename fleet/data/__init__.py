"""Facts of the world outside as data with their sources, and the one reader of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fleet.errors import CatalogError


@cache
def load(name: str) -> Any:
    """The content of ``fleet/data/NAME.yml``. Shared between callers: not to be changed.

    Raises:
        CatalogError: it isn't there or isn't YAML.
    """
    path = Path(__file__).with_name(f"{name}.yml")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        hint = "it ships with this tool: restore it"
        raise CatalogError(f"can't be read: {error}", where=str(path), hint=hint) from error
