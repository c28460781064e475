"""Hosts that are left out for a while: who said so, why, and until when.

``quarantine.json`` lies beside the lock files and belongs into version control, so that the whole team leaves them out.
A row whose time has come counts no longer, and is dropped with the next write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from fleet import durations
from fleet.errors import LockFileError, UsageError

FILE: Final = "quarantine.json"
_ABOUT: Final = (
    "Hosts that provision and rollout leave out, until when (UTC) and why. ./inv quarantine writes it. Commit it."
)
#: A host that is gone for longer than a year is no quarantine: it belongs out of the inventory.
_LONGEST: Final = timedelta(days=366)


@dataclass(frozen=True)
class Row:
    """Why a host is left out, who said so, since when and until when (UTC, ISO 8601)."""

    why: str
    who: str
    since: str
    until: str

    def __str__(self) -> str:
        return f"in quarantine until {self.until}: {self.why} ({self.who})"


Rows = dict[str, Row]


def duration(text: str) -> timedelta:
    """How long ``30m``, ``2h``, ``2d`` is.

    Raises:
        UsageError: it is none of these, nothing, or more than a year.
    """
    try:
        said = text.strip()[-1:].isalpha()  # a bare number would be seconds here, and never meant
        length = timedelta(seconds=durations.seconds(text)) if said else timedelta()
    except (ValueError, OverflowError):
        length = timedelta()
    if not timedelta() < length <= _LONGEST:
        raise UsageError(f"--for: {text!r} is no time", hint="minutes, hours or days up to a year: 30m, 2h, 2d")
    return length


def load(directory: Path) -> Rows:
    """All rows of the file, also those whose time has come; nothing where there is no file.

    Raises:
        LockFileError: the file is damaged.
    """
    path = directory / FILE
    try:
        hosts = json.loads(path.read_text(encoding="utf-8"))["hosts"]
        rows = {str(host): Row(**{name: str(row[name]) for name in Row.__annotations__}) for host, row in hosts.items()}
        for row in rows.values():
            _time(row.until)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LockFileError(f"can't be read: {error.strerror}", where=str(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "take it back from version control, or remove it: then no host is in quarantine"
        raise LockFileError(
            "this is no list of quarantined hosts, or a damaged one", where=str(path), hint=hint
        ) from error
    return rows


def active(rows: Mapping[str, Row], now: datetime) -> Rows:
    """The rows that count at ``now``."""
    return {host: row for host, row in rows.items() if _time(row.until) > now}


def current(directory: Path) -> Rows:
    """The rows of the file that count now.

    Raises:
        LockFileError: the file is damaged.
    """
    return active(load(directory), utc_now())


def add(rows: Mapping[str, Row], hosts: Iterable[str], why: str, who: str, length: timedelta, now: datetime) -> Rows:
    """``rows`` that count, with ``hosts`` left out for ``length`` from ``now``; what was said of them before goes."""
    row = Row(why, who, _words(now), _words(now + length))
    return active(rows, now) | dict.fromkeys(hosts, row)


def end(rows: Mapping[str, Row], hosts: Iterable[str], now: datetime) -> Rows:
    """``rows`` that count, without ``hosts``."""
    gone = set(hosts)
    return {host: row for host, row in active(rows, now).items() if host not in gone}


def store(directory: Path, rows: Mapping[str, Row]) -> None:
    """Write ``rows`` (all of them), whole or not at all.

    Raises:
        LockFileError: it can't be written.
    """
    path = directory / FILE
    document = {"about": _ABOUT, "hosts": {host: asdict(row) for host, row in sorted(rows.items())}}
    temporary = path.with_name(f".{FILE}.new")
    try:
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        hint = "the inventory's directory must be writable"
        raise LockFileError(f"can't be written: {error.strerror}", where=str(path), hint=hint) from error


def utc_now() -> datetime:
    """The time by which rows are judged."""
    return datetime.now(timezone.utc)


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 doesn't know Z
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)  # written by hand


def _words(time: datetime) -> str:
    return time.astimezone(timezone.utc).isoformat(timespec="seconds")
