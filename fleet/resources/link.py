"""A symbolic link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.resource import Change, Observation, Run, Step
from fleet.resources.ownership import describe, ownership_probe
from fleet.shell import quote


@dataclass(frozen=True)
class Link:
    """A symbolic link at ``path`` to ``target``, switched in one rename: a reader sees the old one or the new one."""

    path: str
    target: str

    @property
    def id(self) -> str:
        """``link:PATH``."""
        return f"link:{self.path}"

    def probe(self) -> str:
        """What is there, and where it leads."""
        return f"p={quote(self.path)}\n{ownership_probe()}"

    def diff(self, seen: Observation) -> Change | None:
        """Create it, or let it lead elsewhere."""
        state = seen.get("state")
        if state == "link" and seen.get("target") == self.target:
            return None
        if state == "absent":
            return Change(self.id, "create", "it isn't there", f"+ {self.path} → {self.target}")
        old = seen.get("target") or describe(seen)
        return Change(self.id, "update", "it leads elsewhere", f"- {self.path} → {old}\n+ {self.path} → {self.target}")

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Make a new link beside and rename it over; a file in its place is kept as ``PATH.fleet-old``."""
        script = f"""set -e
p={quote(self.path)}; n="$p.fleet-new"
( umask 022; mkdir -p "$(dirname "$p")" )
if [ -d "$p" ] && [ ! -L "$p" ]; then echo "$p is a directory, a link must be there: move it away" >&2; exit 1; fi
if [ -f "$p" ] && [ ! -L "$p" ]; then mv -f "$p" "$p.fleet-old"; fi
ln -sfn {quote(self.target)} "$n"; mv -fT "$n" "$p\""""
        return [Run(script, what=f"link {self.path}")]
