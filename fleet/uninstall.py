"""Take back what this tool put on a host: a role like the others, that wants nothing of ours to be there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fleet.resource import Problem, Resource
from fleet.resources import Absent, Removed
from fleet.resources.gateway import UNIT
from fleet.resources.gateway_gone import GatewayGone
from fleet.target import Target

#: Files that bear our name; each is ours alone. What others own too (daemon.json) keeps what was merged into it.
FILES: Final = (
    "/etc/sysctl.d/60-fleet.conf",
    "/etc/security/limits.d/60-fleet.conf",
    "/etc/systemd/system/nvidia-persistenced.service.d/fleet.conf",
    "/etc/systemd/system/docker.service.d/fleet-proxy.conf",
    "/etc/fleet",
    "/var/lib/fleet/gpus.json",
    "/var/lib/fleet/cache",
    "/var/lib/fleet/tools",
    "/var/lib/fleet/services",
    "/var/lib/fleet/held",
)
WHY: Final = "left by vllm-fleet"


@dataclass(frozen=True)
class Uninstall:
    """The only role of ``uninstall``. ``weights`` takes the downloaded models too.

    Packages, the driver, Docker, their repositories and pins stay: others may lean on them by now. The audit log stays
    as well: it says what was done here, this included.
    """

    weights: bool = False

    def resources(self, target: Target) -> Iterator[Resource]:
        """Every instance gone, then our files."""
        for instance in target.facts.instances:
            yield Removed(instance)
        if UNIT in target.facts.units:
            yield GatewayGone()
        for path in FILES:
            yield Absent(path, WHY)
        if self.weights:
            yield Absent(target.settings.weights.root, f"{WHY}; --weights was given")

    def problems(self, target: Target) -> Iterator[Problem]:
        """Nothing stands in the way."""
        return iter(())
