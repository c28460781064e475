"""All that stands before some hosts: each gateway of the inventory, and the balancers that its users had already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fleet.gateway.balancer import Balancer
from fleet.gateway.executables import Behind, ExecutableBalancer
from fleet.gateway.haproxy import HaproxyGateway
from fleet.settings import HostSettings
from fleet.transport import Transport


def balancers(
    gateways: Iterable[str], hosts: Mapping[str, HostSettings], transport: Callable[[str], Transport]
) -> list[Balancer]:
    """The gateways (names of hosts), and one balancer for each set of executables that ``hosts`` name."""
    found: list[Balancer] = [HaproxyGateway(transport(name)) for name in gateways]
    own: dict[tuple[str | None, ...], list[tuple[str, HostSettings]]] = {}
    for name, settings in hosts.items():
        told = settings.gateway
        if told.own_balancer and settings.instances:
            own.setdefault((told.drain, told.undrain, told.state), []).append((name, settings))
    for group in own.values():
        behind = [each for name, settings in group for each in Behind.of(name, settings)]
        found.append(ExecutableBalancer(group[0][1].gateway, behind))
    return found
