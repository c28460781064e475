"""Installed packages that no upgrade may move: a driver with all its libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fleet.resource import Change, Job, Observation, Run, Step
from fleet.resources import dnf
from fleet.shell import words


@dataclass(frozen=True)
class Held:
    """Every installed package whose name matches one of ``patterns`` and whose version matches ``version`` is held.

    Shell patterns both. A package that depends on others at one version is held only together with them: apt-mark on a
    metapackage alone lets an upgrade move what is below it.
    """

    name: str
    manager: Literal["apt", "dnf"]
    patterns: tuple[str, ...]
    version: str

    @property
    def id(self) -> str:
        """``held:NAME``."""
        return f"held:{self.name}"

    def probe(self) -> str:
        """Which of them aren't held."""
        return f"printf 'loose=%s\\n' \"$({self._loose()} | sort -u | tr '\\n' ' ')\""

    def diff(self, seen: Observation) -> Change | None:
        """Hold what isn't."""
        loose = seen.get("loose").split()
        if not loose:
            return None
        return Change(self.id, "hold", f"{len(loose)} packages may be moved by an upgrade", "\n".join(loose))

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Hold them: quick with apt; a job with dnf, which reads all repositories for it."""
        if self.manager == "apt":
            return [Run(f"apt-mark hold $({self._loose()}) >&2", what=f"hold {self.name}")]
        script = f"""set -e
l=$({self._loose()}); echo "progress: locking versions of {self.name}"
dnf {dnf.OPTIONS} versionlock delete $l >/dev/null 2>&1 || :
dnf {dnf.OPTIONS} versionlock add $l"""
        return [Job(f"hold-{self.name}", script, what=f"lock the versions of {self.name}", timeout=1800)]

    def _loose(self) -> str:
        """Sh that prints the names of those that aren't held."""
        if self.manager == "apt":
            form, asked = "${db:Status-Status} ${Package} ${Version}\\n", "dpkg-query -W -f"
            start, only = "held=$(apt-mark showhold); ", " 2>/dev/null | sed -n 's/^installed //p'"
            held = 'printf "%s\\n" "$held" | grep -qxF "$n"'
        else:
            form, asked = "%{NAME} %{VERSION} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n", "rpm -qa --qf"
            start, only = "", ""
            held = f'grep -qF -e "$n-$e." {dnf.LOCKS} 2>/dev/null'
        listed = f"{start}{asked} {words(form, *self.patterns)}{only}"
        return f'{listed} | while read -r n v e; do case $v in {self.version}) {held} || echo "$n";; esac; done'
