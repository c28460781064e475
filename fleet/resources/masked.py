"""A unit that a package brings and that must not start by itself, unless it was there before us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.resource import Change, Observation, Run, Step
from fleet.shell import quote


@dataclass(frozen=True)
class Masked:
    """``unit`` stays masked where we bring its package; one that is there already is somebody's and is left alone."""

    unit: str

    @property
    def id(self) -> str:
        """``masked:UNIT``."""
        return f"masked:{self.unit}"

    def probe(self) -> str:
        """Whether systemd knows such a unit, and whether it is masked."""
        return f"systemctl show {quote(self.unit)} -p LoadState"

    def diff(self, seen: Observation) -> Change | None:
        """Mask it before its package comes."""
        if seen.get("LoadState") != "not-found":
            return None
        return Change(self.id, "mask", "its package would start it")

    def apply(self, seen: Observation) -> Sequence[Step]:
        """One link."""
        return [Run(f"systemctl mask {quote(self.unit)}", what=f"mask {self.unit}")]
