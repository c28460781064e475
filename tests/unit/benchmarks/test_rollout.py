"""The rollout benchmark's own arithmetic: times by a journal, tables, the faults that take turns."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks import rollout, rollout_faults, rollout_scenarios

BEGAN = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


def journal_of(tmp_path: Path, *lines: tuple[float, str, dict[str, Any]]) -> Path:
    path = tmp_path / "run" / "journal.jsonl"
    path.parent.mkdir()
    rows = [
        {"time": (BEGAN + timedelta(seconds=at)).isoformat(timespec="milliseconds"), "event": event, **more}
        for at, event, more in lines
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_times_are_those_of_the_waves_beside_their_turns(tmp_path: Path) -> None:
    path = journal_of(
        tmp_path,
        (0, "begin", {}),
        (1, "wave", {"hosts": ["w1"]}),
        (1, "step", {"host": "w1", "at": "drain"}),
        (5, "step", {"host": "w1", "at": "switch"}),
        (11, "end", {"host": "w1", "at": "DONE"}),
        (12, "wave", {"hosts": ["w2", "w3"]}),
        (12, "step", {"host": "w2", "at": "drain"}),
        (12, "step", {"host": "w3", "at": "drain"}),
        (20, "end", {"host": "w2", "at": "DONE"}),
        (24, "end", {"host": "w3", "at": "DONE"}),
        (25, "finished", {}),
    )

    # Turns of 10, 8 and 12 seconds, two waves, 24 seconds from the first wave to the end.
    told = rollout_scenarios.times(path)
    assert told == {"waves": 2, "turn": 10.0, "took": 24.0, "ratio": 1.2, "slowest": round(24 / 22, 3)}


def test_a_rollout_that_did_nothing_has_no_ratio(tmp_path: Path) -> None:
    assert rollout_scenarios.times(journal_of(tmp_path, (0, "begin", {})))["ratio"] is None


def test_a_table_shows_what_is_wrong_only_where_something_is() -> None:
    rows = [{"seed": 1, "good": True, "wrong": ""}, {"seed": 2, "good": True, "wrong": ""}]
    assert rollout.table(rows).splitlines() == ["| seed | good |", "| --- | --- |", "| 1 | yes |", "| 2 | yes |"]

    rows[1] |= {"good": False, "wrong": "w1: down | out"}
    assert rollout.table(rows).splitlines()[-1] == "| 2 | **no** | w1: down \\| out |"


def test_every_kind_of_fault_comes_as_often_as_the_others() -> None:
    kinds = list(rollout_faults.FAULTS)

    assert rollout.parser().parse_args([]).seeds == len(kinds)
    assert {kinds[seed % len(kinds)] for seed in range(len(kinds))} == set(kinds)


def test_only_what_is_itself_killed_excuses_failures() -> None:
    assert {name for name, fault in rollout_faults.FAULTS.items() if fault.excuses} == {"host", "gateway"}


def test_by_default_all_is_asked_and_twenty_thousand_requests() -> None:
    told = rollout.parser().parse_args([])

    assert (told.hosts, told.only) == (12, "a,b,c,d,e")
    assert rollout.REQUESTS[told.hosts] == 20_000
