"""Values of options by kind: what is wrong with one, and how it would be written right."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping

_SIZE = re.compile(r"\d+(\.\d+)?[kKmMgGtT]|\d+")  # a point only with a unit behind it
_COUNTS = re.compile(r"[A-Za-z_]\w*=\d+(,[A-Za-z_]\w*=\d+)*")


def nearest_choice(word: str, choices: frozenset[str]) -> str | None:
    """The choice that was most likely meant: fp16 → float16, AWQ → awq, awq_int4 → awq."""
    plain = re.sub(r"^(b?)f(p|loat)?(16|32)$", r"\1float\3", word.lower())
    near = difflib.get_close_matches(plain, sorted(choices), 1, cutoff=0.4)
    return plain if plain in choices else (near[0] if near else None)


def respelled(kind: str, value: object) -> str | None:
    """The same value in the form that the option takes, where that can be told."""
    if kind in ("json", "object") and isinstance(value, str) and _COUNTS.fullmatch(value):
        return json.dumps({k: int(v) for k, v in (pair.split("=") for pair in value.split(","))})
    if kind == "counts" and isinstance(value, str):
        try:
            return ",".join(f"{k}={int(v)}" for k, v in json.loads(value).items())
        except (ValueError, AttributeError, TypeError):
            return None
    if kind in ("int", "float") and isinstance(value, str):
        number = re.match(r"(\d+(?:\.\d+)?)\s*([kK]?)", value)
        if number and kind == "int" and number.group(2):
            return str(int(float(number.group(1)) * 1000))  # what newer versions read in 32k
        return number.group(1) if number else None
    return None


def _is_int(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d+(_\d+)*\s*", value):
        return None
    return f"{_shown(value)} is no whole number"


def _is_float(value: object) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return None
    try:
        float(str(value) if isinstance(value, str) else "no")
    except ValueError:
        return f"{_shown(value)} is no number"
    return None


def _is_size(value: object) -> str | None:
    if _is_int(value) is None or (isinstance(value, str) and _SIZE.fullmatch(value)):
        return None
    return f"{_shown(value)} is no whole number, nor one with k, m or g behind it"


def _is_size_or_auto(value: object) -> str | None:
    return None if value == "auto" else _is_size(value)


def _is_flag(value: object) -> str | None:
    return None if isinstance(value, bool) else f"it is a flag and takes no value, not {_shown(value)}"


def _is_boolean(value: object) -> str | None:
    if isinstance(value, bool) or str(value).lower() in ("true", "false"):
        return None
    return f"{_shown(value)} is neither true nor false"


def _is_json(value: object) -> str | None:
    if isinstance(value, (Mapping, list, tuple)):
        return None
    try:
        json.loads(str(value))
    except ValueError:
        return f"{_shown(value)} is no JSON"
    return None


def _is_object(value: object) -> str | None:
    if isinstance(value, Mapping) or value == "None":
        return None
    if complaint := _is_json(value):
        return complaint
    if isinstance(value, (list, tuple)) or not isinstance(json.loads(str(value)), dict):
        return f"{_shown(value)} is no JSON object"
    return None


def _is_counts(value: object) -> str | None:
    if isinstance(value, Mapping):
        if all(_is_int(count) is None for count in value.values()):
            return None
    elif isinstance(value, str) and _COUNTS.fullmatch(value):
        return None
    return f"{_shown(value)} is not of the form image=5,video=0"


def _is_text(value: object) -> str | None:
    return "it needs a value" if isinstance(value, bool) or value is None else None


def _is_words(value: object) -> str | None:
    if isinstance(value, (list, tuple)):
        return None if value else "it needs at least one value"
    return _is_text(value)


def _is_ints(value: object) -> str | None:
    words = value if isinstance(value, (list, tuple)) else [value]
    return _is_words(value) or next((found for word in words if (found := _is_int(word))), None)


def _shown(value: object) -> str:
    return "true (a flag's value)" if value is True else repr(value)


#: What is wrong with a value, by the option's kind; None when nothing is.
CHECKS: Mapping[str, Callable[[object], str | None]] = {
    "int": _is_int,
    "float": _is_float,
    "size": _is_size,
    "size-or-auto": _is_size_or_auto,
    "flag": _is_flag,
    "switch": _is_flag,
    "boolean": _is_boolean,
    "json": _is_json,
    "object": _is_object,
    "counts": _is_counts,
    "text": _is_text,
    "words": _is_words,
    "ints": _is_ints,
}
