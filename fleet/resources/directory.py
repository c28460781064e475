"""A directory with its mode and owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.resource import Change, Observation, Run, Step
from fleet.resources.ownership import describe, mend, ownership_probe
from fleet.shell import quote


@dataclass(frozen=True)
class Directory:
    """A directory, or a link that leads to one (models often lie on another disk). Its content isn't looked at."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"

    @property
    def id(self) -> str:
        """``directory:PATH``."""
        return f"directory:{self.path}"

    def probe(self) -> str:
        """Kind, mode and owner."""
        return f"p={quote(self.path)}\n{ownership_probe(follow=True)}"

    def diff(self, seen: Observation) -> Change | None:
        """Create it, or mend mode and owner."""
        if seen.get("state") == "absent":
            return Change(self.id, "create", f"it isn't there (mode {self.mode:04o}, {self.owner}:{self.group})")
        if seen.get("state") != "directory":
            return Change(self.id, "create", f"it is {describe(seen)}, not a directory: that stays, so this will fail")
        wrong = mend(seen, self.mode, self.owner, self.group)
        return Change(self.id, "mode", wrong.why) if wrong else None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Make it with its parents (0755), or mend it; something else in its place is left as it is, and said."""
        script = f"""set -e
p={quote(self.path)}
if [ -e "$p" ] && [ ! -d "$p" ]; then echo "$p is no directory: move it away" >&2; exit 1; fi
( umask 022; mkdir -p "$p" )
chown {quote(f"{self.owner}:{self.group}")} "$p"; chmod {self.mode:04o} "$p\""""
        return [Run(script, what=f"make {self.path}")]
