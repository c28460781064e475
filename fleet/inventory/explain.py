"""Where a host's value comes from, and what it beat: what Ansible never tells."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.errors import InputError, UsageError
from fleet.inventory.connection import PASSWORDS
from fleet.inventory.files import shown
from fleet.inventory.host import Host
from fleet.inventory.values import Encrypted, Origin, ansible_json, secreted
from fleet.secret import MASK

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]")
_PATH = re.compile(rf"([^.\[\]]+)((?:{_STEP.pattern})*)")


@dataclass(frozen=True)
class Setting:
    """One place that sets a value: the group or host that it is for, where it stands, the value as written there."""

    owner: str
    origin: Origin
    written: Any

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        place = {"file": self.origin.path, "line": self.origin.line or None, "column": self.origin.column or None}
        return {"for": self.owner, **place, "written": self.written}


@dataclass(frozen=True)
class Explanation:
    """A host's value, and the places that set it: the one that counts first."""

    host: str
    variable: str
    value: Any
    error: str
    settings: tuple[Setting, ...]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        first, *beaten = (setting.as_json() for setting in self.settings)
        outcome = {"error": self.error} if self.error else {"value": self.value}
        return {**outcome, "from": first, "beat": beaten}

    def __str__(self) -> str:
        outcome = f"error: {self.error}" if self.error else json.dumps(self.value, ensure_ascii=False)
        lines = [f"{self.host}: {self.variable} = {outcome}"]
        for number, setting in enumerate(self.settings):
            written = json.dumps(setting.written, ensure_ascii=False)
            same = number == 0 and not self.error and setting.written == self.value
            lines.append(
                f"  {'beat' if number else 'from'} {setting.origin} ({setting.owner})"
                + ("" if same else f": {written}")
            )
        return "\n".join(lines)


def explain(host: Host, wanted: str) -> Iterator[Explanation]:
    """What there is to say of ``wanted``: a variable, a path into one (``instances[0].args``), or a glob of names.

    Yields nothing where the host has no such variable. Raises UsageError for a path that is none.
    """
    name, path = _path(wanted)
    for variable in sorted(fnmatch.filter((each for each in host.variables if isinstance(each, str)), name)):
        settings = tuple(
            Setting(layer.owner, layer.place.origin(variable, *path), _shown(variable, found))
            for layer in host.setting(variable)
            if (found := _inside(layer.values[variable], path)) is not _NOTHING
        )
        if not settings:
            continue
        value, error = None, ""
        try:
            value = _shown(variable, _inside(host.resolve(variable), path))
        except InputError as failure:
            error = f"{failure.message}" + (f" ({failure.hint})" if failure.hint else "")
        yield Explanation(host.name, "".join((variable, *map(_step, path))), value, error, settings)


_NOTHING = object()


def _inside(value: object, path: list[str | int]) -> object:
    """The value at ``path`` inside ``value``."""
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step, _NOTHING)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else _NOTHING
        else:
            return _NOTHING
    return value


def _shown(variable: str, value: object) -> Any:
    """A value as it may be seen: secrets masked."""
    if isinstance(value, Encrypted):
        return MASK
    masked = ansible_json(secreted(value) if variable in PASSWORDS else value, masked=True)
    return _printable(masked)


def _printable(value: Any) -> Any:
    match value:
        case {"__ansible_vault": str()}:
            return MASK
        case {"__ansible_unsafe": str(text)}:
            return text
        case dict():
            return {key: _printable(item) for key, item in value.items()}
        case list():
            return [_printable(item) for item in value]
        case str():
            return shown(value)
    return value


def _path(wanted: str) -> tuple[str, list[str | int]]:
    """``a.b[0]`` as the variable's name and the steps into it."""
    found = _PATH.fullmatch(wanted)
    if not found:
        raise UsageError(
            f"{wanted!r} is no variable", hint="write a name, a path like a.b[0].c, or a glob like ansible_*"
        )
    return found[1], [int(index) if index else key for key, index in _STEP.findall(found[2])]


def _step(step: str | int) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step}"
