"""The early boot image, made anew when what goes into it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.resource import Change, Job, Observation, Step
from fleet.shell import quote, words

_TOOL: Final = "for t in update-initramfs dracut; do command -v $t >/dev/null && echo tool=$t && break; done"


@dataclass(frozen=True)
class Initramfs:
    """An initramfs built with these files as they are now: a blacklist counts at boot only once it is in there.

    That it wasn't is state: the files' hash at the last build stands in ``note``. A host without a tool for it (a
    container) has none to build.
    """

    inputs: tuple[str, ...]
    note: str = "/var/lib/fleet/initramfs"

    @property
    def id(self) -> str:
        """``initramfs``, one a host."""
        return "initramfs"

    @property
    def follows(self) -> tuple[str, ...]:
        """The files that go into it."""
        return tuple(f"file:{path}" for path in self.inputs)

    def probe(self) -> str:
        """Which tool there is, and whether the files are those of the last build."""
        return f"""{_TOOL}
[ "$({self._hash()})" = "$(cat {quote(self.note)} 2>/dev/null)" ] && echo built=yes; :"""

    def diff(self, seen: Observation) -> Change | None:
        """Build it."""
        if not seen.get("tool") or seen.get("built") == "yes":
            return None
        return Change(self.id, "update", f"built before {', '.join(self.inputs)} were as they are")

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Build it by the host's own tool, and note with what."""
        build = "update-initramfs -u -k all" if seen.get("tool") == "update-initramfs" else "dracut --force"
        script = f"""set -e
echo "progress: {build}"; h=$({self._hash()})
{build}
( umask 022; mkdir -p "$(dirname {quote(self.note)})" ); echo "$h" > {quote(self.note)}"""
        return [Job("initramfs", script, what="build the early boot image", timeout=1800)]

    def _hash(self) -> str:
        return f"cat {words(*self.inputs)} 2>/dev/null | sha256sum | cut -d' ' -f1"
