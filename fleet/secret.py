"""A value that must not be seen: masked wherever it is printed, shown only where it is asked for by name."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

MASK: Final = "********"


@dataclass(frozen=True)
class Secret:
    """A secret text. ``str``, ``repr`` and ``format`` give the mask; :meth:`reveal` gives the value.

    Deliberately not a ``str``: whatever takes text (JSON, templates, argv) refuses it or shows the mask, so a
    forgotten place leaks nothing and fails where it can be seen.
    """

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """The value itself, for the one place that has to write it."""
        return self._value

    def digest(self, key: bytes) -> str:
        """A keyed hash (HMAC-SHA256, hex): tells whether a secret changed, and nothing to who lacks the key."""
        return hmac.new(key, self._value.encode(), hashlib.sha256).hexdigest()

    def __bool__(self) -> bool:
        return bool(self._value)

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)


@lru_cache(maxsize=4096)
def slow_digest(text: str, purpose: str) -> str:
    """A digest that is dear to guess against, for ids that are seen by all though a secret is part of them (hex)."""
    return hashlib.scrypt(text.encode(), salt=f"vllm-fleet {purpose}".encode(), n=2**14, r=8, p=1, dklen=16).hex()


def mask(text: str, secrets: Iterable[str]) -> str:
    """``text`` with each secret of 4 characters or more replaced (shorter ones would eat ordinary words)."""
    for value in sorted({s for s in secrets if len(s) >= 4}, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text
