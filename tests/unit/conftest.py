"""What holds for every unit test: nothing is written into the project."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This side's own directory, away from the project's."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("FLEET_HOME", str(path))
    return path
