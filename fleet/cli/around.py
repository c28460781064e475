"""Who else a run is about: the gateways and all that they stand before; and who is left out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet import quarantine, report
from fleet.inventory import Host, Inventory

#: Hosts of this group are gateways.
GATEWAY = "gateway"


@dataclass(frozen=True)
class Around:
    """The picked hosts and, where the inventory has a gateway, all that it stands before, and all gateways."""

    hosts: Sequence[Host]
    gateways: Sequence[str] = ()

    @classmethod
    def of(cls, inventory: Inventory, picked: Sequence[Host]) -> Around:
        """Nobody but the picked ones where there is no gateway: what isn't looked at can't be wrong."""
        gateways = inventory.names(GATEWAY) if GATEWAY in inventory.groups else []
        if not gateways:
            return cls(picked)
        names = {host.name for host in picked} | set(gateways)
        everybody = (inventory.host(name) for name in inventory.names("all"))
        return cls([host for host in everybody if host.name in names or host.has("instances")], gateways)


def without_quarantined(hosts: Sequence[Host], directory: Path) -> list[Host]:
    """The hosts that aren't in quarantine; each that is, is told with its reason."""
    rows = quarantine.current(directory)
    for host in hosts:
        if host.name in rows:
            report.warn(f"{host.name} is left out: {rows[host.name]}")
    return [host for host in hosts if host.name not in rows]
