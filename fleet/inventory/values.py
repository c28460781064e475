"""Values as they stand in an inventory before anything is resolved, and where they stand.

Plain values are Python's own. Four kinds need a name: text that must not be read as a template
(:class:`Unsafe`), a value that is still encrypted (:class:`Encrypted`), and text and numbers out of a
vault (:class:`~fleet.secret.Secret`, :class:`SecretNumber`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleet.secret import Secret


@dataclass(frozen=True)
class Origin:
    """Where a value stands. ``line`` and ``column`` count from 1; 0 means that only the file is known."""

    path: str
    line: int = 0
    column: int = 0
    text: str = ""

    def __str__(self) -> str:
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column}" if self.column else f"{self.path}:{self.line}"


class Place(Protocol):
    """Something that can say where a value stands, worked out only when somebody asks."""

    def origin(self, *path: object) -> Origin:
        """The place of the value found by ``path`` (keys and indexes) below this one."""
        ...


@dataclass(frozen=True)
class Line:
    """The place of everything that one line, or a whole file, says."""

    path: str
    line: int = 0
    text: str = ""

    def origin(self, *path: object) -> Origin:
        """The line; the column is that of the first name in ``path`` that it holds."""
        if not self.line:
            return Origin(self.path)
        column = self.text.find(str(path[0])) if path else -1
        return Origin(
            self.path, self.line, max(column, len(self.text) - len(self.text.lstrip())) + 1, self.text.strip()
        )


class Unsafe(str):
    """Text marked ``!unsafe``: braces in it are text."""

    __slots__ = ()


@dataclass(frozen=True)
class Encrypted:
    """An inline ``!vault`` value: known only by its ciphertext until somebody uses it."""

    ciphertext: str
    place: Place = field(compare=False, repr=False)
    decrypt: Callable[[Encrypted], Secret] = field(compare=False, repr=False)

    def reveal(self) -> Secret:
        """The value in clear, as a secret. Raises VaultError when no password fits."""
        return self.decrypt(self)


@dataclass(frozen=True)
class SecretNumber(Secret):
    """A number out of an encrypted file: it may be a PIN, so it is as secret as a text."""

    number: int | float = field(default=0, repr=False)

    def __repr__(self) -> str:
        return Secret.__repr__(self)


def secreted(value: object) -> object:
    """``value``, read from an encrypted file, with every text and number in it made a secret.

    Keys, booleans and nulls stay: they say what is configured, not with what.
    """
    if isinstance(value, str):
        return Secret(str(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return SecretNumber(str(value), value)
    return walk(value, secreted)


def ansible_json(value: object, *, masked: bool = False) -> Any:
    """``value`` as ``ansible-inventory`` prints it.

    Inline vault values stay encrypted, unsafe text is marked; what came from an encrypted file is in
    clear, unless ``masked``.
    """
    if isinstance(value, Secret):
        if masked:
            return str(value)
        return value.number if isinstance(value, SecretNumber) else value.reveal()
    if isinstance(value, Encrypted):
        return {"__ansible_vault": value.ciphertext}
    if isinstance(value, Unsafe):
        return {"__ansible_unsafe": str(value)}
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {json_key(key): ansible_json(item, masked=masked) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [ansible_json(item, masked=masked) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((ansible_json(item, masked=masked) for item in value), key=str)
    return value


def walk(value: object, change: Callable[[object], object]) -> object:
    """A copy of ``value`` with ``change`` applied to the members of a container; other values as they are."""
    if isinstance(value, Mapping):
        return {key: change(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [change(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return {change(item) for item in value}
    return value


def in_clear(value: object) -> object:
    """``value`` with every secret in it as plain text or number, for a place where it can't be a secret.

    Whoever asks for this keeps it out of sight: :func:`secrets_in` names what is to be masked.
    """
    if isinstance(value, SecretNumber):
        return value.number
    return value.reveal() if isinstance(value, Secret) else walk(value, in_clear)


def secrets_in(value: object) -> Iterable[Secret]:
    """Every secret inside ``value``, for the list of texts that no output may show."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from secrets_in(item)


def json_key(key: object) -> str:
    """A key as Python's JSON writes it; what it would refuse (a date) as its text."""
    if type(key) is str:
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)
