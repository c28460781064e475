"""Kernel parameters that must be at least so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.resource import Change, Observation, Run, Step
from fleet.shell import quote, write_file


@dataclass(frozen=True)
class SysctlMinimums:
    """Numbers under /proc/sys that are no smaller than these, now and after a reboot.

    A larger value is somebody's choice and stays. Where the host may not write a parameter (a container), or doesn't
    have it, it is left alone.
    """

    values: Mapping[str, int]
    path: str = "/etc/sysctl.d/60-fleet.conf"
    proc: str = "/proc/sys"

    @property
    def id(self) -> str:
        """``sysctl:PATH`` of the file that keeps them."""
        return f"sysctl:{self.path}"

    def probe(self) -> str:
        """``vN=NUMBER`` for each parameter that can be written, and the file."""
        lines = [
            f'p={quote(self._file(name))}; [ -w "$p" ] && printf \'v{index}=%s\\n\' "$(cat "$p")"'
            for index, name in enumerate(self.values)
        ]
        kept = f"[ -f {quote(self.path)} ] && printf 'kept=%s\\n' \"$(base64 -w0 {quote(self.path)})\""
        return "\n".join([*lines, kept, ":"])

    def diff(self, seen: Observation) -> Change | None:
        """The parameters that are too small, and the file where it differs."""
        small = self._small(seen)
        lines = [f"{name}: {seen.get(f'v{index}')} → {self.values[name]}" for index, name in small]
        if (seen.decoded("kept") or "") != self._content:
            lines.append(f"write {self.path}")
        return Change(self.id, "update", "too small, or not kept", "\n".join(lines)) if lines else None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Set those that are too small, and keep all of them."""
        steps: list[Step] = []
        if (seen.decoded("kept") or "") != self._content:
            steps.append(Run(write_file(self.path), stdin=self._content.encode(), what=f"write {self.path}"))
        lines = [f"echo {self.values[name]} > {quote(self._file(name))}" for _, name in self._small(seen)]
        return [*steps, Run("set -e\n" + "\n".join(lines), what="set kernel parameters")] if lines else steps

    def _small(self, seen: Observation) -> list[tuple[int, str]]:
        found = ((index, name, seen.get(f"v{index}")) for index, name in enumerate(self.values))
        return [(index, name) for index, name, value in found if value.isdigit() and int(value) < self.values[name]]

    def _file(self, name: str) -> str:
        return f"{self.proc}/{name.replace('.', '/')}"

    @property
    def _content(self) -> str:
        lines = [f"{name} = {value}" for name, value in self.values.items()]
        return "\n".join(["# Written by vllm-fleet: minimums for serving.", *lines, ""])
