"""Host names with ports and ranges: ``gpu[01:16]:2222`` is sixteen names and a port.

The rules are Ansible's (``ansible/parsing/utils/addresses.py`` and ``expand_hostname_range`` of
``ansible/plugins/inventory/__init__.py``), with their edges: a port is only taken from a name that is valid
without it, and an address with colons needs brackets to have one.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from fleet.errors import InventoryError

#: The most names that one pattern may stand for: ``[1:9999999999]`` is a slip, and would fill the memory.
MAX_NAMES = 100_000

_BRACKETED_PORT = re.compile(r"\[(.+)\]:([0-9]+)")
_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])*):([0-9]+)")

_NUMBERS = r"\[[0-9]+:[0-9]+(?::[0-9]+)?\]"
_HEXADECIMAL = r"\[[0-9a-f]+:[0-9a-f]+(?::[0-9]+)?\]"
_LETTERS_OR_NUMBERS = r"\[(?:[a-z]:[a-z]|[0-9]+:[0-9]+)(?::[0-9]+)?\]"
_V4 = rf"(?:[01]?[0-9]{{1,2}}|2[0-4][0-9]|25[0-5]|{_NUMBERS})"
_V6 = rf"(?:[0-9a-f]{{1,4}}|{_HEXADECIMAL})"
_LABEL = rf"(?:[\w]|{_LETTERS_OR_NUMBERS})(?:[\w_-]|{_LETTERS_OR_NUMBERS})*(?<![_-])"
_ADDRESSES = tuple(
    re.compile(rf"(?:{pattern})\Z", re.IGNORECASE)
    for pattern in (
        rf"(?:{_V4}\.){{3}}{_V4}",
        "|".join(
            [
                rf"(?:{_V6}:){{7}}{_V6}",
                rf"(?:{_V6}:){{1,6}}:",
                *(rf"(?:{_V6}:){{{left}}}(?::{_V6}){{1,{7 - left}}}" for left in range(1, 7)),
                rf":(?::{_V6}){{1,6}}",
                rf"{_V6}?::",
                rf"(?:0:){{6}}(?:{_V6}\.){{3}}{_V6}",
                rf"::(?:ffff:)?(?:{_V6}\.){{3}}{_V6}",
                rf"(?:0:){{5}}ffff:(?:{_V6}\.){{3}}{_V6}",
            ]
        ),
        rf"{_LABEL}(?:\.{_LABEL})*",
    )
)


def split_port(address: str) -> tuple[str, int | None] | None:
    """``address`` as name and port, or None where it is no host name, with or without ranges."""
    name, port = address, None
    for pattern in (_BRACKETED_PORT, _PORT):
        if found := pattern.fullmatch(name):
            name, port = found[1], int(found[2])
    return (name, port) if any(pattern.match(name) for pattern in _ADDRESSES) else None


def is_address(name: str) -> bool:
    """Whether ``name`` is an IPv4 or IPv6 address."""
    return any(pattern.match(name) for pattern in _ADDRESSES[:2])


def expand(pattern: str) -> tuple[list[str], int | None]:
    """All names that ``pattern`` stands for, left range slowest, and the port they share.

    Raises InventoryError (without a place: the caller knows it) for a range that is none.
    """
    name, port = split_port(pattern) or (pattern, None)
    names = [name]
    while "[" in names[0]:
        names = [each for one in names for each in _first_range(one, MAX_NAMES // len(names))]
        if not names:
            break
    return names, port


def _first_range(name: str, most: int) -> list[str]:
    """``name`` with its first range written out."""
    parts = name.replace("[", "|", 1).replace("]", "|", 1).split("|")
    if len(parts) != 3:
        raise InventoryError(f"{name!r} has a bracket without its partner, or a '|'", hint="a range is [begin:end]")
    head, inner, tail = parts
    bounds = inner.split(":")
    if len(bounds) not in (2, 3):
        raise InventoryError(f"{name!r}: a range is [begin:end] or [begin:end:step]")
    begin, end, step = bounds[0] or "0", bounds[1], _number(bounds[2], name) if len(bounds) == 3 else 1
    if not end:
        raise InventoryError(f"{name!r}: the range has no end", hint="a range is [begin:end]")
    width = len(begin) if begin[0] == "0" else 1
    if width > 1 and width != len(end):
        raise InventoryError(f"{name!r}: begin and end of a range with leading zeros have the same width")
    if not step:
        raise InventoryError(f"{name!r}: the step of a range is never 0")
    letters = string.ascii_letters
    if begin in letters and end in letters:
        first, last = letters.index(begin), letters.index(end)
        if first > last:
            raise InventoryError(f"{name!r}: the range ends before it begins")
        middles: Sequence[object] = letters[first : last + 1 : step]
    else:
        middles = range(_number(begin, name), _number(end, name) + 1, step)
    if len(middles) > most:
        raise InventoryError(f"{name!r} stands for more than {MAX_NAMES} hosts", hint="is the end of the range right?")
    return [f"{head}{str(middle).zfill(width)}{tail}" for middle in middles]


def _number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InventoryError(f"{name!r}: {text!r} is neither a number nor a letter") from None
