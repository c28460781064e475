"""The journal: what was written is read back, whatever was cut off; and only one writes at a time."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fleet.errors import UsageError
from fleet.rollout import journal
from fleet.rollout.journal import Journal, JournalBusy, JournalLost
from fleet.rollout.turn import At


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))


def a_rollout(run: str = "20261123T000000Z") -> Path:
    with Journal(run) as book:
        book.write("begin", who="me", options={"batch": "1"})
        book.write("wave", name="canary 1", hosts=["h1"])
        book.write("step", host="h1", at="drain")
        book.write("end", host="h1", at="DONE")
        book.write("step", host="h2", at="switch", before={"a": "123"})
        return book.path


def test_the_story_is_what_was_written() -> None:
    story = journal.read(a_rollout())
    assert story.begun["options"] == {"batch": "1"}
    assert story.ends == {"h1": At.DONE}
    assert story.steps["h2"] is At.SWITCH
    assert story.unsettled == ("h2",)
    assert not story.closed


def test_a_line_cut_off_anywhere_never_happened_and_spoils_no_other() -> None:
    path = a_rollout()
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for cut in range(last, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert journal.read(path).unsettled == ()
        with Journal(path.parent.name) as book:
            book.write("step", host="h3", at="idle")
        assert journal.read(path).steps["h3"] is At.IDLE


def test_two_never_write_to_one_rollout() -> None:
    path = a_rollout()
    with Journal(path.parent.name), pytest.raises(JournalBusy), Journal(path.parent.name):
        pass


def test_a_closed_rollout_is_not_taken_up_again() -> None:
    path = a_rollout()
    assert journal.find() == path
    with Journal(path.parent.name) as book:
        book.write("finished")
    assert journal.open_one() is None
    with pytest.raises(UsageError, match="no rollout is open"):
        journal.find()


def test_it_is_for_its_owner_alone() -> None:
    assert a_rollout().stat().st_mode & 0o777 == 0o600


def test_what_was_switched_stays_known_whatever_step_a_later_try_was_cut_off_at() -> None:
    with Journal("r2") as book:
        for at in ("drain", "switch", "drain"):
            book.write("step", host="h1", at=at, back=False)
        for at in ("drain", "gates", "go-back", "drain"):
            book.write("step", host="h2", at=at, back=False)
        book.write("step", host="h3", at="switch")
        book.write("end", host="h3", at="REVERTED")
        book.write("step", host="h3", at="drain")
    story = journal.read(book.path)
    assert set(story.touched) == {"h1", "h2"}
    assert set(story.back) == {"h2"}


def test_a_full_disk_is_said_and_the_line_that_did_not_fit_spoils_none_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Journal("r3") as book:
        book.write("begin", who="me")
        sync = os.fsync
        with book.path.open("ab") as other:  # what a write leaves that the disk cut short
            other.write(b'{"event": "step", "host": "h1"')

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(JournalLost, match="No space left"):
            book.write("step", host="h2", at="drain")
        monkeypatch.setattr(os, "fsync", sync)
        book.write("step", host="h3", at="drain")
    assert set(journal.read(book.path).steps) >= {"h3"}
    assert "h1" not in journal.read(book.path).steps
