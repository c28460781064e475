"""A stream of a dnf module (RHEL 8 and 9): which line of versions a package comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.resource import Change, Job, Observation, Step
from fleet.resources import dnf
from fleet.resources.guard import Guard
from fleet.shell import quote


@dataclass(frozen=True)
class DnfModule:
    """``module:stream`` is enabled. Another stream that is enabled is reset first, which by itself moves no package."""

    module: str
    stream: str
    guard: Guard | None = None
    etc: str = "/etc"

    @property
    def id(self) -> str:
        """``dnf-module:MODULE``."""
        return f"dnf-module:{self.module}"

    def probe(self) -> str:
        """The enabled stream, from dnf's own record of it (asking dnf would read all repositories)."""
        record = quote(f"{self.etc}/dnf/modules.d/{self.module}.module")
        guard = f"\n{self.guard.probe()}" if self.guard else ""
        return (
            f"""sed -n -e 's/ //g' -e 's/^stream=/stream=/p' -e 's/^state=/state=/p' {record} 2>/dev/null; :{guard}"""
        )

    def diff(self, seen: Observation) -> Change | None:
        """Enable it, or switch to it."""
        if seen.get("state") == "enabled" and seen.get("stream") == self.stream:
            return None
        old = seen.get("stream") if seen.get("state") == "enabled" else ""
        why = f"stream {old} is enabled" if old else "no stream is enabled"
        shown = ([f"- {self.module}:{old}"] if old else []) + [f"+ {self.module}:{self.stream}"]
        stops = self.guard.interrupts(seen) if self.guard and old else ()
        return Change(self.id, "update" if old else "create", why, "\n".join(shown), stops)

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Reset and enable."""
        script = f"""set -e
echo "progress: enabling {self.module}:{self.stream}"
dnf {dnf.OPTIONS} module reset {quote(self.module)}
dnf {dnf.OPTIONS} module enable {quote(f"{self.module}:{self.stream}")}"""
        return [Job(f"dnf-module-{self.module}", script, what=f"enable {self.module}:{self.stream}", timeout=1800)]
