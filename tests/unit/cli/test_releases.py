from __future__ import annotations

import json
from pathlib import Path

import pytest
from invoke.context import Context

from fleet.cli import releases as cli
from fleet.cli import session
from fleet.transport.fake import FakeTransport


def _line(number: int, marks: str = "-", **about: object) -> str:
    told = {"image": "hub.example/vllm:0.8.2", "model": "Qwen/Q", "content_id": "c" * 40, "args": {}, **about}
    return f"release+=qwen r{number} {marks} {number} {number} {json.dumps(told)}\n"


HISTORY = json.dumps({"time": "2026-11-23T01:00:00+00:00", "who": "me@here", "why": '更快 "now"', "release": "r7"})
ANSWER = "".join(
    [
        _line(7, "-,current,good", args={"max-model-len": 8192}),
        *(_line(n) for n in range(6, 0, -1)),
        f"switch+=qwen {HISTORY}\nend=yes\n",
    ]
)


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A host that knows seven releases."""
    file = tmp_path / "hosts.yml"
    file.write_text("all: {hosts: {h1: {}}}\n")
    monkeypatch.setattr(session, "connector", lambda *_: lambda name: FakeTransport(name, [("release", ANSWER)]))
    return [str(file)]


def test_the_last_five_are_told_newest_first_with_what_differs_and_who_why(
    inventory: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cli.releases(Context(), inventory=inventory)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["host", "instance", "no.", "release"]
    assert [line.split()[2] for line in lines[1:]] == ["7", "6", "5", "4", "3"]
    for words in ("vllm:0.8.2", "Qwen/Q@cccccccccccc", "+max-model-len 8192", "current, good", "me@here", '更快 "now"'):
        assert words in lines[1]


def test_for_machines_it_is_one_document(inventory: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cli.releases(Context(), inventory=inventory, json=True)
    told = json.loads(capsys.readouterr().out)["h1"]["qwen"]
    assert [release["number"] for release in told] == [7, 6, 5, 4, 3]
    assert (told[0]["current"], told[0]["good"], told[1]["current"]) == (True, True, False)
    assert told[0]["differs"] == ["+max-model-len 8192"]
    assert told[0]["switched"]["why"] == '更快 "now"'
    assert told[1]["switched"] is None
