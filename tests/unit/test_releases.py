from __future__ import annotations

import json
import os
from pathlib import Path

from fleet.releases import SCRIPT, Known, go_back, previous, read
from fleet.resource import Run, Wait
from fleet.resources.release import INSTANCES
from tests.local_host import LocalHost


def test_a_host_tells_its_releases_newest_first(tmp_path: Path) -> None:
    base = tmp_path / "qwen"
    for age, release in enumerate(["aaa", "bbb", "ccc"]):
        (base / "releases" / release).mkdir(parents=True)
        (base / "releases" / release / "release.json").write_text(json.dumps({"port": 8000 + age}, indent=2) + "\n")
        os.utime(base / "releases" / release, (1000 + age, 1000 + age))
    (base / "releases" / ".new").mkdir()
    (base / "current").symlink_to("releases/ccc")
    (base / "good").symlink_to("releases/bbb")
    answer = LocalHost(tmp_path).sh(SCRIPT.replace(INSTANCES, str(tmp_path))).stdout
    assert read(answer) == (
        Known("qwen", "ccc", current=True, about={"port": 8002}),
        Known("qwen", "bbb", good=True, about={"port": 8001}),
        Known("qwen", "aaa", about={"port": 8000}),
    )


def test_a_host_without_instances_tells_none(tmp_path: Path) -> None:
    reply = LocalHost(tmp_path).sh(SCRIPT.replace(INSTANCES, str(tmp_path / "none")))
    assert (reply.status, read(reply.stdout)) == (0, ())


def test_damaged_lines_are_left_out() -> None:
    assert read('release+=a b - {"x"\nrelease+=a\nnoise\nrelease+=a b - []\n') == ()


def test_back_is_to_the_good_one_where_the_current_failed_and_else_to_the_one_before() -> None:
    failed = [Known("a", "3", current=True), Known("a", "2"), Known("a", "1", good=True), Known("b", "9")]
    assert previous(failed, "a") == failed[2]
    well = [Known("a", "3", current=True, good=True), Known("a", "2"), Known("a", "1")]
    assert previous(well, "a") == well[1]
    assert previous([Known("a", "3", current=True)], "a") is None


def test_going_back_is_switch_restart_wait_and_remember() -> None:
    steps = go_back("qwen", "0123456789ab")
    assert [type(step) for step in steps] == [Run, Run, Wait, Run]
    assert isinstance(steps[0], Run)
    assert steps[0].what == "switch qwen to release 0123456789ab"
