"""Packages of the host's own package manager, at any or at one version, held or not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from fleet.resource import Change, Job, Observation, Step
from fleet.resources import apt, dnf
from fleet.resources.guard import Guard

Manager = Literal["apt", "dnf"]


@dataclass(frozen=True)
class Packages:
    """Packages that are installed: ``name``, or ``name=version`` (``*`` and ``?`` match, as in ``580.*``).

    With ``hold`` neither an upgrade nor unattended-upgrades moves them (apt-mark, dnf versionlock). Nothing is ever
    removed to make room unless ``may_remove`` says so: a docker-ce that would push out a docker.io is a failure, not a
    surprise. ``guard`` says what a change of installed packages would stop.
    """

    manager: Manager
    names: tuple[str, ...]
    hold: bool = False
    may_remove: bool = False
    guard: Guard | None = None

    @property
    def id(self) -> str:
        """``packages:NAME`` of the first, with the number of the others."""
        first = self.names[0].partition("=")[0]
        return f"packages:{first}" + (f"+{len(self.names) - 1}" if len(self.names) > 1 else "")

    def probe(self) -> str:
        """One line a package: ``p0=installed VERSION`` and ``h0=yes`` where it is held."""
        plain = [name.partition("=")[0] for name in self.names]
        script = apt.probe(plain) if self.manager == "apt" else dnf.probe(plain)
        return f"{script}\n{self.guard.probe()}" if self.guard else script

    def diff(self, seen: Observation) -> Change | None:
        """Install what is missing, at another version or half installed; hold what isn't held."""
        wrong = [lines for index, name in enumerate(self.names) if (lines := self._wrong(index, name, seen))]
        if wrong:
            stops = self.guard.interrupts(seen) if self.guard else ()
            count = f"{len(wrong)} of {len(self.names)} package{'s' if len(self.names) > 1 else ''} to install"
            return Change(self.id, "install", count, "\n".join(line for lines in wrong for line in lines), stops)
        loose = self._loose(seen)
        if loose:
            return Change(self.id, "hold", f"not held: {', '.join(loose)}")
        return None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """One job that waits for the package manager's lock, installs, and holds."""
        manager = apt if self.manager == "apt" else dnf
        script = manager.install(self.names, hold=self.hold, may_remove=self.may_remove)
        key = hashlib.sha256("\n".join((self.manager, *self.names)).encode()).hexdigest()[:8]
        first = self.names[0].partition("=")[0]
        name = "".join(c if c.isalnum() else "-" for c in f"packages-{first}-{key}")
        return [Job(name, script, what=f"install {' '.join(self.names)}", timeout=2 * 3600.0)]

    def _wrong(self, index: int, name: str, seen: Observation) -> list[str]:
        plain, _, version = name.partition("=")
        state, _, found = seen.get(f"p{index}").partition(" ")
        wanted = f"+ {plain} {version}".rstrip()
        if not state or state == "absent":
            return [wanted]
        if state != "installed":
            return [f"- {plain} {found} ({state})", wanted]
        if version and not fnmatchcase(found, version) and not fnmatchcase(found.partition(":")[2] or found, version):
            return [f"- {plain} {found}", wanted]
        return []

    def _loose(self, seen: Observation) -> list[str]:
        if not self.hold:
            return []
        return [n.partition("=")[0] for i, n in enumerate(self.names) if seen.get(f"h{i}") != "yes"]
