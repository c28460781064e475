"""Models by name. A row is a config.json (``config``), or another row's with changes (``like`` and ``with``)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from fleet.errors import CatalogError
from fleet.sizing.data import read
from fleet.sizing.model import Model, read_model


@dataclass(frozen=True)
class Entry:
    """One model of the catalog; ``note`` is a warning that goes with every answer about it."""

    name: str
    config: Mapping[str, Any]
    note: str = ""


def find(name: str) -> Entry:
    """The catalog's row for a hub name, with or without the organisation, in any case of letters.

    Raises :class:`CatalogError` with the nearest names for one that isn't there.
    """
    key = _key(name)
    found = _by_key().get(key) or _by_key().get(key.rpartition("/")[2])
    if found is None:
        near = difflib.get_close_matches(key.rpartition("/")[2], list(_by_key()), 3, cutoff=0.5)
        names = ", ".join(dict.fromkeys(_by_key()[k] for k in near))
        hint = f"the nearest are {names}; " if names else ""
        raise CatalogError(f"no model {name!r} in the catalog", hint=f"{hint}a directory or a config.json works too")
    row = read("models.json")["models"][found]
    return Entry(found, _config(found), row.get("note", ""))


@cache
def model(name: str) -> Model:
    """The model behind a catalog name."""
    entry = find(name)
    return read_model(entry.config, where=f"catalog: {entry.name}")


def names() -> list[str]:
    """Every model's name, in the catalog's order."""
    return list(read("models.json")["models"])


def _config(name: str) -> dict[str, Any]:
    row = read("models.json")["models"][name]
    base = _config(row["like"]) if "like" in row else {}
    return {**base, **row.get("config", {}), **row.get("with", {})}


@cache
def _by_key() -> Mapping[str, str]:
    table: dict[str, str] = {}
    for name, row in read("models.json")["models"].items():
        for spelled in (name, *row.get("also", ())):
            table[_key(spelled)] = name
            table.setdefault(_key(spelled).rpartition("/")[2], name)
    return table


def _key(name: str) -> str:
    return name.strip().strip("/").lower()
