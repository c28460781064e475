"""``releases.prune``: what it shows, asks, removes, and when it refuses."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from fleet.cli import prune as cli
from fleet.cli import session
from fleet.rollout import journal
from fleet.rollout.turn import At
from fleet.transport.base import Reply
from fleet.transport.fake import FakeTransport

FACTS = "facts_version=1\nuid=0\nfacts_end=yes\n"
CONTENT = {number: f"{number:012x}" + "0" * 52 for number in range(1, 8)}


def _said(*, extra: str = "", gone: tuple[int, ...] = ()) -> str:
    """A host with releases 3 to 7, and images and weights of 1 to 7 (without those that are ``gone``)."""
    lines = ["root=/srv/models", extra]
    for number, content in CONTENT.items():
        if number >= 3:
            about = json.dumps({"content_id": content, "digest": f"sha256:{number:064x}"}).encode()
            start = f"docker image inspect fleet.local/vllm:{number:016x} >/dev/null\n".encode()
            lines.append(f"release+=/r{number} {base64.b64encode(about).decode()} {base64.b64encode(start).decode()}")
        if number not in gone:
            names = f"fleet.local/vllm:{number:016x},|r.example/vllm@sha256:{number:064x},"
            lines += [f"image+=sha256:i{number}|{number * 2**30}|{names}|l{number},"]
            lines += [f"place+=me--tiny rev-{content[:12]} yes {content} me/tiny", f"file+=1:{number} 1 {2**31}"]
    return "\n".join([*lines, "end=yes\n"])


class Host:
    """What a host says now; what is removed is gone afterwards."""

    def __init__(self) -> None:
        self.extra, self.refuses, self.gone = "", "", [0]
        self.line = FakeTransport(
            "h1",
            [
                (r"exec 9>/run/fleet/lock", "locked\n"),
                (r"cat /var/lib/fleet/rollout.json", json.dumps({
                    "run": "R1", "who": "me@there", "at": At.GATES.value, "back": False, "before": {}, "measured": {},
                })),
                (r"facts_version", FACTS),
                (r"docker image rm", lambda command, _: self._remove(command)),
                (r"mv -T", lambda command, _: self._remove(command)),
                (r"cat >> /var/lib/fleet/audit.log", ""),
                (r"place\+=", lambda *_: _said(extra=self.extra, gone=tuple(self.gone))),
                (r"", ""),
            ],
        )  # fmt: skip
        self.removed: list[str] = []

    def _remove(self, command: str) -> Reply:
        if self.refuses and self.refuses in command:
            return Reply("", "conflict: container 4711 uses it", 1)
        self.removed.append(command)
        return Reply("", "", 0)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    made = Host()
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cli, "_roles", [])  # what the inventory wants is the roles' to say, and held elsewhere
    monkeypatch.setattr(session, "connector", lambda *_: lambda _: made.line)
    return made


@pytest.fixture
def told(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "hosts.yml"
    file.write_text(f"all: {{hosts: {{h1: {{}}}}, vars: {{image: {{ref: 'r.example/vllm:v0.8.2', "
                    f"digest: 'sha256:{'f' * 64}'}}}}}}\n")  # fmt: skip
    return {"inventory": [str(file)]}


def prune(**more: Any) -> int:
    try:
        cli.prune(Context(), **more)
    except Exit as ended:
        return int(ended.code)
    return 0


Capture = pytest.CaptureFixture[str]


def test_a_dry_run_shows_what_would_go_its_size_and_why_and_changes_nothing(
    host: Host, told: dict[str, Any], capsys: Capture
) -> None:
    assert prune(**told, dry_run=True) == 0
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines()[1:]] == ["weights", "weights", "image", "image"]
    assert "rev-000000000001" in out
    assert "rev-000000000003" not in out
    assert "2.0 GiB" in out
    assert "no kept release, no container and not the inventory uses it" in out
    assert host.removed == []
    assert not any("/run/fleet/lock" in command for command, _ in host.line.asked)


def test_what_was_shown_goes_under_the_lock_and_is_written_down(
    host: Host, told: dict[str, Any], capsys: Capture
) -> None:
    assert prune(**told, json=True, yes=True) == 0
    document = json.loads(capsys.readouterr().out)
    about = document["hosts"]["h1"]
    assert [one["name"] for one in about["goes"]] == about["removed"]
    assert len(about["removed"]) == len(host.removed) == 4
    assert {one["gib"] for one in about["goes"] if one["kind"] == "weights"} == {2.0}
    asked = [command for command, _ in host.line.asked]
    lock = next(i for i, command in enumerate(asked) if "/run/fleet/lock" in command)
    assert all(asked.index(command) > lock for command in host.removed)
    assert sum("audit.log" in command for command in asked) == 4
    assert host.line.held == 0


def test_nothing_to_do_is_well_and_said(host: Host, told: dict[str, Any], capsys: Capture) -> None:
    host.gone = [1, 2]
    assert prune(**told) == 0
    assert "nothing to prune" in capsys.readouterr().out


def test_what_one_thing_fails_with_is_told_and_the_rest_goes(host: Host, told: dict[str, Any], capsys: Capture) -> None:
    host.refuses = "sha256:i2"
    assert prune(**told, yes=True) == 1
    said = capsys.readouterr()
    assert "removed 3 things" in said.out
    assert "container 4711" in said.err


def test_a_host_in_the_middle_of_a_rollout_is_refused(host: Host, told: dict[str, Any], capsys: Capture) -> None:
    host.extra = "rollout=yes"
    assert prune(**told, yes=True) == 1
    err = capsys.readouterr().err
    assert "in the middle of the rollout R1 of me@there" in err
    assert host.removed == []


def test_while_a_rollout_is_open_here_its_hosts_are_refused_and_no_others(
    host: Host, told: dict[str, Any], capsys: Capture
) -> None:
    with journal.Journal("R2") as book:
        book.write("begin", where={"hosts": "h1", "inventory": told["inventory"], "limit": ""})
    assert prune(**told, yes=True) == 1
    assert "the rollout R2 is open here" in capsys.readouterr().err
    assert host.removed == []
    with journal.Journal("R2") as book:
        book.write("finished")
    host.line.closed = False
    assert prune(**told, yes=True) == 0


def test_what_came_into_use_after_it_was_shown_stays(
    host: Host, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def yes(*_: object, **__: object) -> None:
        host.extra = "used+=sha256:i1\nmount+=/srv/models/me--tiny/rev-000000000002"

    monkeypatch.setattr(cli, "confirm", yes)
    assert prune(**told) == 0
    assert len(host.removed) == 2
    assert not any("sha256:i1" in command or "rev-000000000002" in command for command in host.removed)


def test_no_is_an_answer(host: Host, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n", raising=False)
    assert prune(**told) == 1
    assert host.removed == []
