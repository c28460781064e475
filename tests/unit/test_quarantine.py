from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fleet.errors import LockFileError, UsageError
from fleet.quarantine import FILE, Row, active, add, duration, end, load, store

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def test_a_host_is_left_out_until_its_time_has_come() -> None:
    rows = add({}, ["h1", "h2"], "Xid 79", "me@here", 2 * HOUR, NOW)
    assert rows["h1"] == Row("Xid 79", "me@here", "2026-11-23T12:00:00+00:00", "2026-11-23T14:00:00+00:00")
    assert list(active(rows, NOW + timedelta(minutes=119))) == ["h1", "h2"]
    assert active(rows, NOW + 2 * HOUR) == {}


def test_a_new_word_replaces_the_old_and_rows_that_are_over_are_dropped() -> None:
    rows = add(add({}, ["h1"], "a", "me", HOUR, NOW), ["h2"], "b", "me", 5 * HOUR, NOW)
    later = add(rows, ["h2"], "c", "you", HOUR, NOW + 2 * HOUR)
    assert {host: (row.why, row.until) for host, row in later.items()} == {"h2": ("c", "2026-11-23T15:00:00+00:00")}


def test_an_end_takes_a_host_back_in_and_no_other() -> None:
    rows = add({}, ["h1", "h2"], "a", "me", HOUR, NOW)
    assert list(end(rows, ["h1", "h9"], NOW)) == ["h2"]
    assert end(rows, ["h1"], NOW + 2 * HOUR) == {}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = add({}, ["h2", "h1"], 'a "quoted"\n原因', "me", HOUR, NOW)
    assert load(tmp_path) == {}
    store(tmp_path, rows)
    assert load(tmp_path) == rows
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert list(json.loads((tmp_path / FILE).read_text())["hosts"]) == ["h1", "h2"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"hosts": {"h1": {}}}',
        '{"hosts": {"h1": {"why": "", "who": "", "since": "", "until": "soon"}}}',
    ],
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(LockFileError, match="damaged") as error:
        load(tmp_path)
    assert error.value.where == str(tmp_path / FILE)


def test_a_time_written_by_hand_is_utc() -> None:
    for until in ("2026-11-23T13:00:00Z", "2026-11-23 13:00", "2026-11-23T21:00+08:00"):
        assert active({"h1": Row("", "", "", until)}, NOW)
        assert not active({"h1": Row("", "", "", until)}, NOW + HOUR)


def test_times_are_minutes_hours_or_days() -> None:
    assert [duration(text) for text in ("30m", "2h", " 2d")] == [HOUR / 2, 2 * HOUR, 48 * HOUR]


@pytest.mark.parametrize("text", ["", "2", "0h", "2w", "-1d", "367d", "999999d", "２d", "2d 3h"])
def test_other_times_are_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no time") as error:
        duration(text)
    assert "30m, 2h, 2d" in error.value.hint
