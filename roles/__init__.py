"""What a host must be: one module a role, and, once, the order in which they build on each other."""

from __future__ import annotations

from fleet.survey import Role

ROLES: tuple[Role, ...] = ()
