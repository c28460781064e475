"""What a host must be: one module a role, and the order in which they build on each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fleet.resource import Problem, Resource
from fleet.target import Target


class Role(Protocol):
    """A module of this package."""

    __name__: str

    def resources(self, target: Target) -> Iterator[Resource]:
        """What ``target`` must be, in the order in which it can come about."""

    def problems(self, target: Target) -> Iterator[Problem]:
        """What keeps ``target`` from becoming it, all findings at once."""
