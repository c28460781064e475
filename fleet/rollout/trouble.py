"""What an instance's log says of a failure: the lines that matter, what is likely behind them, and what to type."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from fleet.resources.release import unit_name
from fleet.rollout.look import KERNEL
from fleet.shell import PREAMBLE, quote
from fleet.transport import Transport

_DATA: Final = Path(__file__).parent / "data" / "causes.json"
#: Lines for one screen, and how long each may be.
_MOST, _LONGEST = 8, 240
#: A line that says that something went wrong, where no row of the data knows it.
_ANY = re.compile(
    r"\b\w+(Error|Exception|Exit)\b(: |$)|\berror: |\bERROR\b|\bCRITICAL\b|\bCUDA\b.*(error|fail)"
    r"|^fleet: (?!Docker was away)|Failed with result|status=(?!0)\d+/(?!TERM)"
    r"|out of memory|\bXid\b|oom-kill|Killed process"
)
#: Says that something failed, and never what.
_EMPTY = re.compile(r"See root cause above|Engine core initialization failed|^Traceback|^During handling")
#: What vLLM's workers and its logger put before what they say.
_BEFORE = re.compile(
    r"^(\(\w+[^)]*\) )?((INFO|WARNING|ERROR|CRITICAL|DEBUG) )?(\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? )?(\[[^\]]*\] )?"
)


@dataclass(frozen=True)
class Cause:
    """What is likely behind a line of the log: in words, and what to type or to change."""

    cause: str
    todo: str
    line: str = ""


@dataclass(frozen=True)
class Trouble:
    """The lines that matter, as they came, and what they mean, the likeliest first."""

    lines: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()


def trouble(transport: Transport, instance: str, since: float) -> Trouble:
    """What unit and kernel said since then (the host's clock, seconds since 1970): one command.

    Raises:
        HostError: the host can't be reached.
    """
    log = f"journalctl --quiet --no-pager --output=cat --since=@{since:.0f}"
    script = f"""{PREAMBLE}
{log} --unit={quote(unit_name(instance))} 2>/dev/null | tail -n 1500 | cut -c 1-600
{log} --dmesg 2>/dev/null | grep -E {quote(KERNEL)} | tail -n 20"""
    reply = transport.run(script, timeout=60)
    return read_trouble(reply.stdout.splitlines(), instance=instance, host=transport.name)


def read_trouble(log: Iterable[str], *, instance: str = "", host: str = "") -> Trouble:
    """From the lines of the log: each thing is said once, however often it was logged."""
    matter: dict[str, str] = {}
    causes: dict[int, Cause] = {}
    known: set[str] = set()
    rows = _rows()
    for line in log:
        said = _BEFORE.sub("", line).rstrip()
        if said[:1].isspace():  # a trace's own lines: what they lead to is its last one
            continue
        row = _row(rows, said)
        if not said or (row is None and (_EMPTY.search(said) or not _ANY.search(line))):
            continue
        key = re.sub(r"\d+", "0", said)
        matter.setdefault(key, said[:_LONGEST])
        if row:
            known.add(key)
            number, about = row
            todo = about["todo"].replace("INSTANCE", instance or "INSTANCE").replace("HOST", host or "HOST")
            causes.setdefault(number, Cause(about["cause"], todo, said[:_LONGEST]))
    # What is known comes first; of the rest the first counts: what follows is mostly its echo.
    best = [*(key for key in matter if key in known), *(key for key in matter if key not in known)][:_MOST]
    return Trouble(
        tuple(said for key, said in matter.items() if key in best),
        tuple(cause for _, cause in sorted(causes.items(), key=_number)),
    )


def _number(item: tuple[int, Cause]) -> int:
    return item[0]


def _row(
    rows: tuple[tuple[re.Pattern[str], Mapping[str, Any]], ...], line: str
) -> tuple[int, Mapping[str, Any]] | None:
    return next(((number, about) for number, (pattern, about) in enumerate(rows) if pattern.search(line)), None)


@cache
def _rows() -> tuple[tuple[re.Pattern[str], Mapping[str, Any]], ...]:
    """The rows of the data, the likeliest first."""
    rows = json.loads(_DATA.read_text(encoding="utf-8"))["causes"]
    return tuple((re.compile(row["pattern"], re.IGNORECASE), row) for row in rows)
