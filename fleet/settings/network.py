"""Where a host is on the fleet's network, and what follows from it for instances behind a gateway."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from fleet.inventory.values import in_clear

HINT: Final = "give it `listen`: the host's address on the fleet's network"


class Addressed(Protocol):
    """What is asked of a host here."""

    @property
    def name(self) -> str:
        """Its name in the inventory."""

    @property
    def variables(self) -> Mapping[str, object]:
        """All variables, merged, references not resolved."""

    def resolve(self, variable: str) -> object:
        """A variable's value, references resolved."""


def address_of(host: Addressed) -> str:
    """The host's own address: its ``ansible_host``, else its name, where that is an address; else empty."""
    told = next((host.resolve(name) for name in ("ansible_host", "ansible_ssh_host") if name in host.variables), None)
    try:
        return str(ipaddress.ip_address(str(in_clear(told) if told else host.name)))
    except ValueError:
        return ""


def own_balancer(values: Mapping[str, object]) -> bool:
    """Whether the host's variables name executables of a balancer that isn't ours."""
    told = values.get("gateway")
    return isinstance(told, dict) and bool(told.get("drain"))


def without_address(name: str, instances: object) -> Iterator[tuple[int, str]]:
    """Instances that don't say where they listen, of a host whose address isn't known: (index, words)."""
    for index, item in enumerate(instances if isinstance(instances, list) else ()):
        if isinstance(item, dict) and "listen" not in item:
            yield (
                index,
                (
                    f"instance {item.get('name')!r} of {name} must listen where the gateway reaches it,"
                    " and the host's ansible_host is no address"
                ),
            )
