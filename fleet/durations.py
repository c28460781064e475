"""Lengths of time as people write them: ``90s``, ``10m``, ``2h``, ``2d``; a bare number is seconds."""

from __future__ import annotations

import re
from typing import Final

_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str | float) -> float:
    """The length in seconds.

    Raises:
        ValueError: it isn't one, in words that a finding can show.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)\s*", str(text))
    if not found:
        msg = f"{text!r} is no length of time: say it as 90s, 10m, 2h or 2d"
        raise ValueError(msg)
    return float(found[1]) * _SECONDS[found[2]]


def words(length: float) -> str:
    """A length in seconds as it reads best: ``90 s``, ``10 min``, ``2 h 30 min``, ``2 d``."""
    whole = round(length)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    if whole < 172800:
        return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")
    return f"{whole // 86400} d" + (f" {whole % 86400 // 3600} h" if whole % 86400 // 3600 else "")
