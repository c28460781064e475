from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from fleet import report
from fleet.errors import FleetError
from fleet.secret import MASK, Secret


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "secrets", {'pa"ss\\wörd', "plain-secret"})


@pytest.mark.parametrize("value", ['pa"ss\\wörd', "plain-secret"])
def test_no_line_shows_a_secret_not_even_as_json_writes_it(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    report.result_json({"a": f"x{value}y", "b": Secret(value)})
    report.result_jsonl([value])
    report.result(value)
    report.note(value)
    report.table(["a"], [[value]])
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert value not in text
        assert json.dumps(value, ensure_ascii=False)[1:-1] not in text
    assert said.out.count(MASK) == 5


def test_results_go_to_stdout_and_everything_else_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    report.result("r")
    for say in (report.note, report.warn, report.error, report.heading):
        say("n")
    said = capsys.readouterr()
    assert said.out == "r\n"
    assert said.err == "n\nwarning: n\nerror: n\nn\n"


@pytest.fixture
def streams() -> Iterator[tuple[TextIO, TextIO]]:
    """A pipe whose reader went away, and a disk that is full."""
    read, write = os.pipe()
    os.close(read)
    found = os.fdopen(write, "w"), os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")
    yield found
    for stream in found:
        with contextlib.suppress(OSError):  # what is left in its buffer
            stream.close()


def test_words_that_nobody_can_read_stop_nothing(
    streams: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in streams:
        monkeypatch.setattr(sys, "stderr", stream)
        for say in (report.note, report.warn, report.error, report.heading):
            say("n")


def test_a_result_that_cannot_be_written_is_never_passed_over(
    streams: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in streams:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises((FleetError, OSError), match=r"can't be written: No space left|Broken pipe"):
            report.result("r")
    monkeypatch.undo()
