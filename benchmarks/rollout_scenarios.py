"""Issue-sized questions to a rollout, each a function of the fleet that returns rows for a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.rollout_fleet import GATEWAYS, INSTANCE, WORKERS, Downloads, Fleet, Load, Ran
from fleet.rollout import journal

Row = dict[str, Any]
#: What the five bad releases are told, and what else a rollout must be told to see it in time.
BAD: Final[Mapping[str, tuple[Mapping[str, str], tuple[str, ...]]]] = {
    "never healthy": ({"FLEETLAB_NEVER_HEALTHY": "1"}, ("--start-deadline", "30s")),
    "nonsense": ({"FLEETLAB_NONSENSE": "repeat"}, ()),
    "wrong model": ({"FLEETLAB_SERVED_NAME": "another-model"}, ()),
    "50 % slower": ({"FLEETLAB_TOKENS_PER_SECOND": "50"}, ()),
    "dies after 30 s": ({"FLEETLAB_DIES_AFTER": "30"}, ("--min-healthy", "45s")),
}


def whole(fleet: Fleet, requests: int) -> list[Row]:
    """A new release on every host under load: nothing fails, and the time is that of the waves."""
    number = str(fleet.next_release())
    with fleet.load("a", at_least=requests) as load:
        ran = fleet.rollout().wait(3600)
    row = {"release": number, **_state(ran), **_lost(load), **times()}
    row["good"] = not row["failed"] and row["slowest"] is not None and row["slowest"] <= 1.15
    return [_judged(fleet, row, {number})]


def bad(fleet: Fleet) -> list[Row]:
    """Five releases that are worse in five ways: each is stopped at the first canary and put back."""
    rows = []
    for name, (environment, words) in BAD.items():
        before = {host: {seen.number} for host, seen in fleet.truth().items()}
        number = fleet.next_release(environment)
        with fleet.load(f"b-{number}") as load:
            ran = fleet.rollout(*words).wait(1800)
        ends = ran.document.get("ends", {})
        failures = [
            failure.get("resource", "")
            for host in ran.document.get("hosts", {}).values()
            for failure in host.get("failures", ())
        ]
        row = {
            "release": name, **_state(ran), "touched": len(ends), "ends": ",".join(sorted(ends.values())),
            "gate": ",".join(failures), **_lost(load),
        }  # fmt: skip
        row["good"] = not row["failed"] and list(ends.values()) == ["REVERTED"]
        rows.append(_judged(fleet, row, before))
    fleet.next_release()  # what is wanted is good again
    return rows


def back(fleet: Fleet) -> list[Row]:
    """Two releases one after the other, then all hosts back to the first: nothing is downloaded."""
    first = str(fleet.next_release())
    rolled = [fleet.rollout("--no-canaries").wait(3600)]
    fleet.next_release()
    rolled.append(fleet.rollout("--no-canaries").wait(3600))
    downloads = Downloads()
    with fleet.load("d") as load:
        ran = fleet.start("rollback", "--hosts", "gpu-cluster", "--yes", "--json").wait(3600)
    row = {**_state(ran), "blobs": downloads.blobs(), "files": downloads.files(), **_lost(load)}
    row["good"] = not (row["blobs"] or row["files"] or row["failed"]) and not any(r.code for r in rolled)
    return [_judged(fleet, row, {first})]


def new_key(fleet: Fleet) -> list[Row]:
    """The servers' key changed on all hosts under load: clients notice nothing."""
    instances = [dict(one) for one in fleet.told["instances"]]
    number = str(fleet.next_release())
    for one in instances:
        one["api_key"] = f"lab-key-changed-{number}"
    fleet.variables["instances"] = instances
    with fleet.load("e") as load:
        prepared = fleet.inv("provision", "--yes", "--json")  # the gateways learn both keys
        ran = fleet.rollout().wait(3600)
    row = {**_state(ran), "gateways told": "yes" if prepared.code == 0 else f"exit {prepared.code}", **_lost(load)}
    row["good"] = not row["failed"]
    return [_judged(fleet, row, {number})]


def _judged(fleet: Fleet, row: Row, allowed: Mapping[str, set[str]] | set[str]) -> Row:
    """The row with what is wrong now that all is over; good only where nothing is."""
    per_host = allowed if isinstance(allowed, Mapping) else {host.name: allowed for host in WORKERS}
    wrong = fleet.settled(per_host)
    return {**row, "good": bool(row["good"]) and not wrong, "wrong": "; ".join(wrong)}


def _state(ran: Ran) -> Row:
    told = ran.document
    state = told.get("state") or (told.get("error") or {}).get("message") or ran.err.strip()[-200:]
    return {"exit": ran.code, "state": state, "seconds": round(ran.seconds)}


def _lost(load: Load) -> Row:
    """What the load counted, in few words."""
    told = load.summary
    return {
        "requests": told.get("requests", 0), "failed": told.get("failed", -1), "errors": _words(told.get("errors", {})),
        "p50": told.get("p50"), "p99": told.get("p99"), "requests/s": told.get("rate"),
    }  # fmt: skip


def _words(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{count}× {kind}" for kind, count in errors.items())


def times(path: Path | None = None) -> Row:
    """How long the newest rollout's waves took beside what their hosts' turns took, by its journal.

    A turn is drain + start + gates, from a host's first step to its end. ``ratio`` is the time from the first wave to
    the end over waves × the median turn; ``slowest`` over the sum of each wave's slowest turn, which is what is judged:
    hosts of one wave that share two cores are slower than a canary alone.
    """
    if path is None:
        known = journal.known()
        if not known:
            return {"waves": 0, "ratio": None, "slowest": None}
        path = journal.find(known[0])
    begun: dict[str, float] = {}
    turns: dict[str, float] = {}
    waves: list[tuple[float, list[str]]] = []
    last = 0.0
    for line in journal.lines(path):
        at = datetime.fromisoformat(line["time"]).timestamp()
        last = at
        if line["event"] == "wave":
            waves.append((at, line["hosts"]))
        elif line["event"] == "step":
            begun.setdefault(line["host"], at)
        elif line["event"] == "end":
            turns[line["host"]] = at - begun.get(line["host"], at)
    if not waves or not turns:
        return {"waves": len(waves), "ratio": None, "slowest": None}
    took = last - waves[0][0]
    middle = sorted(turns.values())[len(turns) // 2]
    slowest = sum(max((turns.get(host, 0.0) for host in hosts), default=0.0) for _, hosts in waves)
    return {
        "waves": len(waves), "turn": round(middle, 1), "took": round(took, 1),
        "ratio": round(took / (len(waves) * middle), 3), "slowest": round(took / slowest, 3) if slowest else None,
    }  # fmt: skip


SCENARIOS: Final[Mapping[str, tuple[str, Callable[[Fleet], list[Row]]]]] = {
    "b": ("bad releases", bad),
    "d": ("rollback of all hosts", back),
    "e": ("a key changed on all hosts", new_key),
}


def write(path: Path, rows: list[Row]) -> None:
    """Keep them as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


__all__ = ["BAD", "GATEWAYS", "INSTANCE", "SCENARIOS", "Row", "back", "bad", "new_key", "times", "whole", "write"]
