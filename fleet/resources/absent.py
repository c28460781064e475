"""Nothing at a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fleet.resource import Change, Observation, Run, Step
from fleet.resources.ownership import describe, ownership_probe
from fleet.shell import quote


@dataclass(frozen=True)
class Absent:
    """Nothing at ``path``: a file, a link or a whole directory is taken away.

    With ``keep`` a file that somebody else wrote goes to ``PATH.fleet-old`` instead. A path with fewer than two parts
    (``/``, ``/etc``) is refused: that is a slip, never a wish.
    """

    path: str
    why: str = ""
    keep: bool = False

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if not path.is_absolute() or len(path.parts) < 3 or ".." in path.parts:
            msg = f"Absent takes an absolute path of at least two parts, not {self.path!r}"
            raise ValueError(msg)

    @property
    def id(self) -> str:
        """``absent:PATH``."""
        return f"absent:{self.path}"

    def probe(self) -> str:
        """What is there."""
        return f"p={quote(self.path)}\n{ownership_probe()}"

    def diff(self, seen: Observation) -> Change | None:
        """Remove what is there."""
        if seen.get("state") == "absent":
            return None
        return Change(self.id, "remove", self.why or f"{describe(seen)} is there, nothing must be")

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Take it away; a link goes, what it leads to stays."""
        away = 'mv -f "$p" "$p.fleet-old"' if self.keep else 'rm -rf "$p"'
        return [Run(f"p={quote(self.path)}\n{away}", what=f"remove {self.path}")]
