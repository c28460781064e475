"""What a host must be, piece by piece: the Resource protocol and the values that pass through it.

A resource is a frozen dataclass of three pure methods. ``probe()`` is POSIX sh that prints the state as
``key=value`` lines and changes nothing; ``diff(seen)`` is the change that is needed, or None; ``apply(seen)`` is the
steps that bring it about. The law that every kind is tested by: ``diff`` after ``apply`` is None.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol, runtime_checkable

from fleet.secret import Secret

#: Said instead of a value that depends on a change made earlier in the same run.
KNOWN_AFTER_APPLY: Final = "known after apply"


@dataclass(frozen=True)
class Observation:
    """What one probe printed (standard error included) and its exit status."""

    text: str
    status: int = 0

    @cached_property
    def fields(self) -> Mapping[str, str]:
        """The ``key=value`` lines; the last one of a key counts, everything else is ignored."""
        pairs = (line.split("=", 1) for line in self.text.split("\n") if "=" in line)
        return {key: value for key, value in pairs if key.isidentifier()}

    def get(self, key: str, default: str = "") -> str:
        """The value of a key, or ``default`` where the probe didn't print it."""
        return self.fields.get(key, default)

    def decoded(self, key: str) -> str | None:
        """A base64 value as text (undecodable bytes replaced), or None where it is missing or damaged."""
        try:
            return base64.b64decode(self.fields[key], validate=True).decode(errors="replace")
        except (KeyError, binascii.Error):
            return None


@dataclass(frozen=True)
class Change:
    """One difference between what is and what must be.

    ``kind`` is a verb (create, update, remove, install, start, restart, …); ``why`` is words for people; ``diff`` is a
    unified diff or lines of old → new, secrets masked; ``interrupts`` names what would stop if it were done now.
    """

    id: str
    kind: str
    why: str
    diff: str = ""
    interrupts: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object that stands in a plan's JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "why": self.why,
            "diff": self.diff,
            "interrupts": list(self.interrupts),
        }


@dataclass(frozen=True)
class Run:
    """A short script on the host, as root. Secrets travel in ``stdin``, never in the script."""

    script: str
    stdin: bytes | Secret | None = None
    timeout: float = 120.0
    what: str = ""


@dataclass(frozen=True)
class Job:
    """Long work: a transient systemd unit that outlives the connection and is followed until it ends.

    ``name`` (letters, digits, dashes) stays the same for the same work, so that the next run finds it and follows it;
    ``files`` are written beside the script into the job's own root-only directory (``$JOB``), secrets among them.
    Its output is shown as progress; the last line of the form ``progress: …`` is what a display shows.
    """

    name: str
    script: str
    what: str
    files: Mapping[str, str | Secret] = field(default_factory=dict)
    timeout: float = 6 * 3600.0


@dataclass(frozen=True)
class Wait:
    """Ask again and again until something is so, from the control side.

    ``script`` ends with 0 when it is so, with 75 (EX_TEMPFAIL: not yet) when it may still come, and with anything else
    when it never will; its last line of standard output is shown as progress, its standard error is the reason.
    """

    script: str
    what: str
    timeout: float = 1800.0
    every: float = 2.0


@dataclass(frozen=True)
class Reboot:
    """Start the host anew and wait until it is back with another boot id; one host at a time in the whole run."""

    what: str
    timeout: float = 1800.0


Step = Run | Job | Wait | Reboot


@runtime_checkable
class Resource(Protocol):
    """One thing that must be so on a host."""

    @property
    def id(self) -> str:
        """``kind:name``, unique on the host, the same from run to run."""

    def probe(self) -> str:
        """POSIX sh that prints the state as ``key=value`` lines and changes nothing."""

    def diff(self, seen: Observation) -> Change | None:
        """What would have to change, or None where all is as it must be."""

    def apply(self, seen: Observation) -> Sequence[Step]:
        """The steps that make it so, from what was just seen."""


def follows(resource: Resource) -> tuple[str, ...]:
    """Ids of the resources whose change this one follows (a service's configuration files), by its ``follows``."""
    return tuple(getattr(resource, "follows", ()))


@dataclass(frozen=True)
class Pending:
    """A resource that can't be worked out before another has come about: shown in the plan, looked at again after it.

    ``after`` names what it waits for, as a resource's id or a role's name.
    """

    id: str
    after: str
    kind: str = "create"

    def probe(self) -> str:
        """Nothing to ask yet."""
        return ":"

    def diff(self, seen: Observation) -> Change | None:
        """Always the change that is to come."""
        return Change(self.id, self.kind, f"{KNOWN_AFTER_APPLY}: {self.after}")

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Nothing can be done yet; the next round knows more."""
        return ()


@dataclass(frozen=True)
class Problem:
    """A finding of a role's preflight. An ``error`` keeps this host untouched; a ``warning`` is only said.

    ``kind`` is ``host`` for what the host is or holds, ``input`` for what is asked of it and can't be: an error of that
    kind is wrong input, which ends the whole run before anything is changed anywhere.
    """

    words: str
    hint: str = ""
    level: str = "error"
    kind: str = "host"

    def as_json(self) -> dict[str, str]:
        """The object that stands in a plan's ``problems``."""
        return {"level": self.level, "kind": self.kind, "words": self.words, "hint": self.hint}


def digest(value: object, key: bytes) -> str:
    """A keyed hash (HMAC-SHA256, hex) of what is wanted: the same for equal resources, and nothing without the key."""
    canonical = json.dumps(_canonical(value, key), sort_keys=True, ensure_ascii=False)
    return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()


def _canonical(value: object, key: bytes) -> object:
    if isinstance(value, Secret):
        return ["secret", value.digest(key)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {f.name: _canonical(getattr(value, f.name), key) for f in dataclasses.fields(value)}
        return [type(value).__name__, named]
    if isinstance(value, Mapping):
        return {str(name): _canonical(item, key) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item, key) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)
