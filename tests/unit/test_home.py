"""What this side keeps: for its owner alone, and never mistaken for another machine's."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from fleet import home


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_runs_of_one_second_have_names_of_their_own_that_begin_with_the_time() -> None:
    runs = [home.new_run() for _ in range(50)]

    assert len({run.name for run in runs}) == 50
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", run.name) for run in runs)


def test_a_name_that_is_taken_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["0000", "0000", "1111"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(drawn))

    first, second = home.new_run(), home.new_run()

    assert (first.name[-4:], second.name[-4:]) == ("0000", "1111")


def test_what_is_kept_is_readable_by_its_owner_alone(at_home: Path) -> None:
    run = home.new_run()
    home.hash_key()

    modes = {path: path.stat().st_mode & 0o777 for path in (at_home, run, at_home / "key")}

    assert list(modes.values()) == [0o700, 0o700, 0o600]


def test_the_key_is_made_once_and_a_cut_off_write_is_made_good(at_home: Path) -> None:
    key = home.hash_key()
    assert home.hash_key() == key

    (at_home / "key").write_bytes(key[:7])

    assert len(home.hash_key()) == 32
    assert home.hash_key() != key
