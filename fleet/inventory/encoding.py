"""Values as ``ansible-inventory`` writes them: JSON sorted by key, indented by four, in UTF-8.

The same as ``json.dumps(ansible_json(value), sort_keys=True, indent=4, ensure_ascii=False)``, in a tenth of the time
for a fleet: what thousands of hosts share of their groups is written out once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring, encode_basestring_ascii

from fleet.inventory.values import ansible_json, json_key

_STEP = "    "


class Encoder:
    """Writes values as text. ``masked`` hides what came from an encrypted file."""

    def __init__(self, *, masked: bool = False) -> None:
        self._masked = masked
        self._written: dict[tuple[int, int], tuple[object, str]] = {}

    def text(self, value: object, depth: int = 0) -> str:
        """``value`` as JSON, indented as ``depth`` levels deep."""
        if type(value) is str:
            return _quoted(value)
        if not isinstance(value, (Mapping, list, tuple)):
            plain = ansible_json(value, masked=self._masked)
            if isinstance(plain, (str, dict, list)):  # a vault value is an object there, a set a list
                return self.text(plain, depth)
            return str(plain) if type(plain) is int else json.dumps(plain, default=str)
        key = (id(value), depth)
        if key not in self._written:
            if isinstance(value, Mapping):
                pairs = {json_key(name): item for name, item in value.items()}
                items = (f"{_quoted(name)}: {self.text(pairs[name], depth + 1)}" for name in sorted(pairs))
                text = _bracketed("{", items, "}", depth)
            else:
                text = _bracketed("[", (self.text(item, depth + 1) for item in value), "]", depth)
            self._written[key] = value, text  # the value is kept, so that no other gets its id
        return self._written[key][1]


def _quoted(text: str) -> str:
    """A text as JSON; half a surrogate pair, which no terminal takes, is escaped."""
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        return encode_basestring_ascii(text)
    return encode_basestring(text)


def _bracketed(opening: str, items: Iterable[str], closing: str, depth: int) -> str:
    inner = f"\n{_STEP * (depth + 1)}"
    body = f",{inner}".join(items)
    return f"{opening}{inner}{body}\n{_STEP * depth}{closing}" if body else opening + closing
