"""A rollout is refused where another one isn't over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from fleet.cli import rollout
from fleet.errors import UsageError
from fleet.rollout.journal import Journal

RUN = "20261123T000000Z"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / ".fleet"))


@pytest.mark.parametrize("verb", [rollout.rollout, rollout.rollback], ids=["rollout", "rollback"])
@pytest.mark.parametrize(
    ("event", "words"), [("begin", "was cut off, or is under way"), ("paused", "pauses after its")]
)
def test_nothing_begins_while_a_rollout_is_open(
    verb: Any, event: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Journal(RUN) as book:
        book.write("begin", who="me")
        if event != "begin":
            book.write(event)
    with pytest.raises((Exit, UsageError)):
        verb(Context(), yes=True)
    told = capsys.readouterr().err
    assert f"the rollout {RUN} {words}" in told
    assert "rollout.resume, rollout.promote or rollout.abort ends it" in told
