"""``./inv`` as an operator types it, with a home of its own: what the lab's tests drive the fleet by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fleet.target import ROOT


class Fleet:
    """One operator; ``inventory`` are the words that name the inventory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.inventory = ["--inventory", "inventory/lab.yml"]

    def told(self, file: Path, document: object) -> Fleet:
        """The same operator with one more inventory, written to ``file``."""
        file.write_text(json.dumps(document))
        other = Fleet(self.home)
        other.inventory = [*self.inventory, "--inventory", str(file)]
        return other

    def start(self, *words: str, inventory: bool = True) -> subprocess.Popen[str]:
        """A verb under way, in a process group of its own."""
        environment = {**os.environ, "FLEET_HOME": str(self.home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "fleet", *words, *(self.inventory if inventory else ())],
            cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def __call__(self, *words: str, status: int | None = 0, timeout: float = 1200, inventory: bool = True) -> Any:
        """Run a verb with --json; its document."""
        process = self.start(*words, "--json", inventory=inventory)
        out, err = process.communicate(timeout=timeout)
        if status is not None:
            assert process.returncode == status, (
                f"{words} ended with {process.returncode}\n{out[-3000:]}\n{err[-6000:]}"
            )
        return json.loads(out)

    def logs(self) -> Path:
        """The newest run's logs."""
        return max((self.home / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
