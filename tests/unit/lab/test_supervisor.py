"""What a host leaves behind is taken away, whatever else is at it meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.lab import supervisor


def test_directories_that_vanish_while_they_are_taken_away_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("host/system.slice/a.service", "host/system.slice/b.service", "host/init"):
        (tmp_path / name).mkdir(parents=True)
    real = os.scandir

    def scandir(path: str) -> Iterator[Any]:
        if str(path).endswith("system.slice"):  # the host's own systemd was quicker
            for name in ("a.service", "b.service", ""):
                (tmp_path / "host/system.slice" / name).rmdir()
        return real(path)

    monkeypatch.setattr(supervisor, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "scandir", scandir)
    supervisor.remove_cgroup("host")
    assert list(tmp_path.iterdir()) == []
