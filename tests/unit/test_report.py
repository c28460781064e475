from __future__ import annotations

import json

import pytest

from fleet import report
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
