from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fleet.errors import CommandFailed, UsageError
from fleet.lock import Owner
from fleet.releases import SCRIPT, Known, Switch, differences, go_back, note_switch, numbered, previous, read
from fleet.resource import Run, Wait
from fleet.resources.release import INSTANCES
from fleet.transport.local import LocalTransport
from tests.local_host import LocalHost

ME = Owner("me@here", "now", "provision")


def _host(path: Path) -> Path:
    """An instance ``qwen`` with three releases, aaa to ccc, numbered 1 to 3."""
    base = path / "qwen"
    for age, release in enumerate(["aaa", "bbb", "ccc"]):
        (base / "releases" / release).mkdir(parents=True)
        (base / "releases" / release / "release.json").write_text(json.dumps({"port": 8000 + age}, indent=2) + "\n")
        (base / "releases" / release / "number").write_text(f"{age + 1}\n")
        os.utime(base / "releases" / release / "number", (1000 + age, 1000 + age))
    (base / "releases" / ".new").mkdir()
    (base / "current").symlink_to("releases/ccc")
    (base / "good").symlink_to("releases/bbb")
    return base


def _told(path: Path) -> tuple[Known, ...]:
    return read(LocalHost(path).sh(SCRIPT.replace(INSTANCES, str(path))).stdout)


def test_a_host_tells_its_releases_the_highest_number_first(tmp_path: Path) -> None:
    base = _host(tmp_path)
    os.utime(base / "releases" / "aaa", (9e9, 9e9))  # a file of it was mended just now
    at = "1970-01-01T00:16:4{}+00:00"
    assert _told(tmp_path) == (
        Known("qwen", "ccc", current=True, about={"port": 8002}, number=3, staged_at=at.format(2)),
        Known("qwen", "bbb", good=True, about={"port": 8001}, number=2, staged_at=at.format(1)),
        Known("qwen", "aaa", about={"port": 8000}, number=1, staged_at=at.format(0)),
    )


def test_a_release_from_before_there_were_numbers_is_told_as_the_oldest(tmp_path: Path) -> None:
    base = _host(tmp_path)
    (base / "releases" / "bbb" / "number").unlink()
    assert [(known.release, known.number) for known in _told(tmp_path)] == [("ccc", 3), ("aaa", 1), ("bbb", 0)]


WHY = "a \"faster\" one\n'$(false)' \\n 更快"


def test_a_switch_is_written_down_and_read_back_with_its_release(tmp_path: Path) -> None:
    base = _host(tmp_path)
    here = LocalTransport()
    note_switch(here, "qwen", "aaa", owner=ME, run="r1", why="first", verb="provision", root=str(tmp_path))
    note_switch(here, "qwen", "ccc", owner=ME, run="r2", why=WHY, verb="rollout", root=str(tmp_path))
    lines = [json.loads(line) for line in (base / "history.jsonl").read_text().splitlines()]
    assert [(x["release"], x["number"], x["from"], x["verb"]) for x in lines] == [
        ("aaa", 1, "", "provision"),
        ("ccc", 3, "aaa", "rollout"),
    ]
    newest, never, oldest = _told(tmp_path)
    assert newest.switched == Switch(lines[1]["time"], "me@here", WHY, "r2", "rollout", "aaa")
    assert never.switched is None
    assert oldest.switched
    assert oldest.switched.why == "first"


def test_a_line_of_history_that_a_crash_cut_off_spoils_no_other(tmp_path: Path) -> None:
    base = _host(tmp_path)
    (base / "history.jsonl").write_text('{"release": "aa')
    note_switch(LocalTransport(), "qwen", "ccc", owner=ME, run="r", why="w", verb="rollback", before="bbb",
                root=str(tmp_path))  # fmt: skip
    assert (base / "history.jsonl").read_text().count("\n") == 2
    switched = _told(tmp_path)[0].switched
    assert switched
    assert (switched.verb, switched.before) == ("rollback", "bbb")


def test_a_switch_that_can_not_be_written_down_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="the switch of gone could not be written down"):
        note_switch(LocalTransport(), "gone", "a", owner=ME, run="r", why="w", verb="put-back", root=str(tmp_path))


def test_a_release_is_found_by_its_number_or_the_numbers_are_told() -> None:
    known = [Known("a", "x", number=12), Known("a", "y", number=11), Known("a", "z"), Known("b", "w", number=3)]
    assert numbered(known, "a", 11) is known[1]
    for number in (3, 0):
        with pytest.raises(UsageError, match=f"a has no release {number}") as error:
            numbered(known, "a", number, where="h1")
        assert "there are: 12, 11;" in error.value.hint
    with pytest.raises(UsageError) as error:
        numbered(known, "c", 1)
    assert "there are: none" in error.value.hint


def test_what_differs_is_told_argument_by_argument() -> None:
    old = Known("a", "1", about={"args": {"max-model-len": 4096, "x": "y", "eager": True}, "port": 8000, "digest": "d"})
    new = Known("a", "2", about={"args": {"max-model-len": 8192, "eager": True, "flag": True, "n": 2}, "port": 8001,
                                 "digest": "d"})  # fmt: skip
    assert differences(old, new) == ["+flag", "max-model-len 4096 → 8192", "+n 2", "-x", "port 8000 → 8001"]
    assert differences(None, new) == []
    assert differences(new, new) == ["the environment or the unit"]


def test_a_host_without_instances_tells_none(tmp_path: Path) -> None:
    reply = LocalHost(tmp_path).sh(SCRIPT.replace(INSTANCES, str(tmp_path / "none")))
    assert (reply.status, read(reply.stdout)) == (0, ())


def test_damaged_lines_are_left_out() -> None:
    assert read('release+=a b - 1 0 {"x"\nrelease+=a\nnoise\nrelease+=a b - 1 0 []\nswitch+=a {"re\n') == ()


def test_back_is_to_the_good_one_where_the_current_failed_and_else_to_the_one_before() -> None:
    failed = [Known("a", "3", current=True), Known("a", "2"), Known("a", "1", good=True), Known("b", "9")]
    assert previous(failed, "a") == failed[2]
    well = [Known("a", "3", current=True, good=True), Known("a", "2"), Known("a", "1")]
    assert previous(well, "a") == well[1]
    assert previous([Known("a", "3", current=True)], "a") is None


def served(verb: str, before: str = "") -> Switch:
    return Switch("2026-11-23T00:00:00+00:00", "me", "", "r", verb, before)


def test_the_one_that_served_before_is_gone_back_to_and_never_one_that_was_only_staged() -> None:
    staged = Known("a", "staged", number=3)
    before = Known("a", "before", number=2, switched=served("rollout", "first"))
    first = Known("a", "first", number=1, switched=served("provision"))
    now = Known("a", "now", current=True, good=True, number=4, switched=served("rollout", "before"))
    assert previous([now, staged, before, first], "a") == before


def test_after_a_rollback_or_a_put_back_one_goes_further_back_and_not_to_what_was_left() -> None:
    for verb in ("rollback", "put-back"):
        left = Known("a", "left", number=3, switched=served("rollout", "now"))
        now = Known("a", "now", current=True, good=True, number=2, switched=served(verb, "left"))
        first = Known("a", "first", number=1, switched=served("provision"))
        assert previous([left, now, first], "a") == first
        assert previous([left, now], "a") is None


def test_going_back_is_switch_restart_wait_and_remember() -> None:
    steps = go_back("qwen", "0123456789ab")
    assert [type(step) for step in steps] == [Run, Run, Wait, Run]
    assert isinstance(steps[0], Run)
    assert steps[0].what == "switch qwen to release 0123456789ab"
