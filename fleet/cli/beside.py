"""What the inventory says of hosts that a run takes no part in: which names they serve, and nothing else of them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fleet.errors import FleetError
from fleet.inventory import Host, Inventory
from fleet.settings import HostSettings, settings_of

#: What of an instance says which name it serves; the rest (keys, arguments) is neither resolved nor judged.
_NAMES: Final = ("name", "model", "served_name")
_ASKED: Final = ("instances", "site")


def beside(inventory: Inventory, but: Collection[str]) -> dict[str, HostSettings]:
    """All hosts of the inventory with instances save ``but``: their instances' names and their site.

    One of which that can't be told is left out: it must not fail a run over others, nor count for what it serves.
    """
    found: dict[str, HostSettings] = {}
    for name in inventory.names("all"):
        if name in but:
            continue
        with contextlib.suppress(FleetError):
            host = inventory.host(name)
            if host.has("instances"):
                found[name], _ = settings_of(_Names(_without_the_rest(host)))
    return {name: told for name, told in found.items() if told.instances}


@dataclass(frozen=True)
class _Names:
    """A host as the schema asks for it, with no other variables than those."""

    host: Host

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def variables(self) -> Mapping[str, object]:
        return {name: self.host.variables[name] for name in _ASKED if self.host.has(name)}

    def resolve(self, variable: str) -> object:
        return _cut(self.host.resolve(variable)) if variable == "instances" else self.host.resolve(variable)

    def origin(self, variable: str, *path: str | int) -> None:
        """Nobody is told of what is wrong here."""


def _without_the_rest(host: Host) -> Host:
    """The host, its instances cut before anything in them is resolved: no vault is opened for a key."""
    return replace(host, variables={**host.variables, "instances": _cut(host.variables["instances"])})


def _cut(instances: object) -> object:
    if not isinstance(instances, list):
        return instances
    return [{k: i[k] for k in _NAMES if k in i} if isinstance(i, Mapping) else i for i in instances]
