"""A ``config.json`` as a file, and the values that take more than a look: numbers, rope's reach, windows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleet.errors import CatalogError

MAX_CONFIG_BYTES = 4 << 20  # published ones are 1 to 60 KB
MAX_DIMENSION = 1 << 24


_A_MODEL = "give a model's directory, its config.json, or a name from the catalog"


def read_json(file: Path, hint: str = _A_MODEL) -> Mapping[str, Any]:
    """One JSON object from a file; :class:`CatalogError` for one that is missing, cut, huge or no object.

    ``hint`` says what is to be given, where it isn't a model's ``config.json``.
    """
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise CatalogError(
                f"{file.stat().st_size >> 20} MiB is too much",
                where=str(file),
                hint="is it the right file?",
            )
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogError(f"can't be read: {error.strerror or error}", where=str(file), hint=hint) from error
    except (ValueError, RecursionError) as error:
        told = "it is cut or damaged; fetch it again" if hint == _A_MODEL else hint
        raise CatalogError(f"is no JSON: {error}", where=str(file), hint=told) from error
    if not isinstance(document, dict):
        told = "is this a model's config.json?" if hint == _A_MODEL else hint
        raise CatalogError("is no JSON object", where=str(file), hint=told)
    return document


class Reader:
    """Whole numbers out of a config, with complaints that name the key."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.config = config
        self.where = where

    def number(self, key: str, *, default: int | None = None) -> int:
        """The number under ``key``; :class:`CatalogError` for one that is missing, no whole number, or can't be."""
        value = self.config.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_DIMENSION:
            said = "is missing" if value is None else f"is {value!r}, which can't be"
            raise CatalogError(f"{key} {said}", where=self.where, hint="the file is cut, or not a model's config.json")
        return value


def is_mrope(text: Mapping[str, Any]) -> bool:
    """Whether positions have three axes (time, height, width), as in Qwen's vision models."""
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    return isinstance(rope, Mapping) and "mrope_section" in rope


def longest_context(text: Mapping[str, Any], positions: int) -> int:
    """The context that vLLM derives: YaRN, linear and dynamic scaling stretch the positions, llama3 and mrope don't."""
    rope = text.get("rope_scaling")
    if not isinstance(rope, Mapping) or "gemma3" in str(
        text.get("model_type")
    ):  # whose positions are stretched already
        return positions
    kind = rope.get("rope_type") or rope.get("type")
    factor = rope.get("factor")
    if kind in ("yarn", "linear", "dynamic") and isinstance(factor, (int, float)) and factor > 0:
        base = rope.get("original_max_position_embeddings") if kind == "yarn" else positions
        return int((base if isinstance(base, int) else positions) * factor)
    return positions


def window(text: Mapping[str, Any]) -> int | None:
    """The sliding window in tokens, where one is used."""
    size = text.get("sliding_window")
    used = text.get("use_sliding_window", True)
    return size if used and isinstance(size, int) and size > 0 else None


def full_layers(text: Mapping[str, Any], layers: int, every: int) -> int | None:
    """How many layers see the whole context where others have a window; None where all are alike."""
    kinds = text.get("layer_types")
    if isinstance(kinds, list) and window(text):
        return sum(1 for kind in kinds if kind == "full_attention")
    pattern = text.get("sliding_window_pattern") or every
    return layers // pattern if isinstance(pattern, int) and pattern > 1 and window(text) else None
