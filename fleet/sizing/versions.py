"""vLLM's versions: how they compare, which are in the catalog, and which neighbours judge one that isn't."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleet.errors import CatalogError
from fleet.sizing.data import read

_LEADING = re.compile(r"v?(\d+(?:\.\d+)+)")

Release = tuple[int, ...]


def release(version: str) -> Release:
    """``0.8.5.post1`` → ``(0, 8, 5)``: the numbers that order versions.

    Raises :class:`CatalogError` where the text doesn't begin with a version.
    """
    match = _LEADING.match(version.strip())
    if match is None:
        raise CatalogError(f"{version!r} is no vLLM version", hint="write it as the image's tag does, e.g. 0.8.2")
    return tuple(int(part) for part in match.group(1).split("."))


@dataclass(frozen=True)
class Neighbours:
    """The known versions that judge ``asked``: one when it is known itself (or newest of all), else two."""

    asked: str
    older: str | None
    newer: str | None

    @property
    def exact(self) -> bool:
        """Whether the asked version is in the catalog itself."""
        return self.older == self.newer

    @property
    def known(self) -> bool:
        """False below the oldest known version: nothing can be said about it."""
        return self.older is not None

    @property
    def judge(self) -> str:
        """The version whose word counts: the newer neighbour, or the newest known one."""
        return self.newer or self.older or ""


def neighbours(version: str) -> Neighbours:
    """The known versions at or on both sides of ``version``."""
    asked = release(version)
    known = sorted(read("options.json")["versions"], key=release)
    below = [v for v in known if _padded(release(v)) <= _padded(asked)]
    above = [v for v in known if _padded(release(v)) >= _padded(asked)]
    return Neighbours(version, below[-1] if below else None, above[0] if above else None)


def at_least(version: str, bound: str) -> bool:
    """Whether ``version`` is ``bound`` or newer."""
    return _padded(release(version)) >= _padded(release(bound))


def _padded(parts: Release) -> Release:
    return (*parts, 0, 0, 0, 0)[:4]
