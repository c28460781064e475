from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet import audit
from fleet.lock import Owner
from fleet.resource import Change
from fleet.transport.fake import FakeTransport


def test_a_change_is_written_down_on_the_host_and_here(own_home: Path) -> None:
    host = FakeTransport("h1", [("audit.log", "")])
    audit.write(
        host, Change("file:/etc/x", "update", "it differs"), Owner("me@here", "now", "provision"), "run-1", "done"
    )
    here = json.loads((own_home / "audit.log").read_text())
    _, sent = host.asked[-1]
    assert sent is not None
    assert json.loads(sent) == here
    assert (here["host"], here["who"], here["resource"], here["result"]) == ("h1", "me@here", "file:/etc/x", "done")


def test_a_line_that_a_crash_cut_off_is_left_out_of_the_history() -> None:
    whole = json.dumps({"time": "2026-11-23T00:00:00+00:00", "resource": "a"})
    host = FakeTransport("h1", [("tail", f'{whole}\n{{"time": "20')])
    assert [line["resource"] for line in audit.read_audit(host, 50)] == ["a"]


def test_a_full_disk_here_stops_no_change_and_is_said_once(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_home / "audit.log").symlink_to("/dev/full")
    host = FakeTransport("h1", [("audit.log", "")])
    for _ in range(2):
        audit.write(host, Change("a", "update", "it differs"), Owner("me@here", "now", "rollout"), "run-1", "done")
    assert len(host.asked) == 2
    assert capsys.readouterr().err.count("No space left on device") == 1
