"""What the lab is made of: its hosts, their addresses (198.18.0.0/15 is set aside for tests, RFC 2544), its places."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.lab import machine

#: A second lab beside the first (``FLEET_LAB_SLOT=1`` to 9, with a FLEET_LAB_DIR of its own) has its own network.
SLOT: Final = int(os.environ.get("FLEET_LAB_SLOT") or 0)
NETWORK: Final = f"198.18.{77 + SLOT}"
SWITCH: Final = f"fleetlab{SLOT or ''}"  #: the namespace of the bridge
SERVICES: Final = f"{SWITCH}-svc"  #: the namespace of registry, mirror and hub
CONTROL_LINK: Final = f"{SWITCH}-ctl"
CONTROL: Final = f"{NETWORK}.1"
SERVICE: Final = f"{NETWORK}.2"
#: A place with a cable of its own for who drives the fleet: it can be cut off while a load on the gateways goes on.
OPERATOR: Final = f"{SWITCH}-op"
OPERATOR_CABLE: Final = "operator"
OPERATOR_ADDRESS: Final = f"{NETWORK}.3"
REGISTRY_PORT: Final = 5000
MIRROR_PORT: Final = 8081
HUB_PORT: Final = 8082
REGISTRY: Final = f"{SERVICE}:{REGISTRY_PORT}"  #: by address: the control side asks it too, and has no such name
IMAGE: Final = "egs/vllm"


@dataclass(frozen=True)
class LabHost:
    """One host: its Debian release, its GPUs (catalog kind and count; none on a gateway), and who logs in there.

    ``ready`` names packages that its disk holds from the start, beyond what a bare host has. ``disk`` is its size in
    GiB; 0 is a directory of this machine's own disk, which can't be filled without filling that.
    """

    name: str
    address: str
    release: str
    gpu: str
    count: int
    user: str
    ready: tuple[str, ...] = ()
    disk: int = 0

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return f"{SWITCH}-{self.name}"

    @property
    def place(self) -> Path:
        """Its disk and logs on this machine."""
        return machine.work() / "hosts" / self.name

    @property
    def root(self) -> Path:
        """Where its file system is mounted."""
        return self.place / "root"


#: bookworm brings Docker 20.10 (GPUs by hook), trixie Docker 26 (GPUs by CDI): both ways, and two kinds of GPU.
_THREE: Final = (
    LabHost("h1", f"{NETWORK}.11", "bookworm", "NVIDIA A10", 1, "root"),
    LabHost("h2", f"{NETWORK}.12", "trixie", "NVIDIA A100-SXM4-40GB", 2, "root"),
    LabHost("h3", f"{NETWORK}.13", "trixie", "NVIDIA A10", 2, "ops"),
    LabHost("g1", f"{NETWORK}.10", "bookworm", "", 0, "root"),
)
#: What the twelve have before anybody provisions them: twelve runs of apt for one package prove no more than one does.
_DOCKER: Final = ("docker.io", "docker-cli", "iptables", "apparmor", "pciutils")
_BALANCER: Final = ("haproxy", "socat")
#: Four classes of three hosts each, and two gateways: HAProxy 2.6 and 3.0.
_CLASSES: Final = (
    ("NVIDIA A10", 1), ("NVIDIA A10", 2), ("NVIDIA A100-SXM4-40GB", 1), ("NVIDIA H100 80GB HBM3", 1),
)  # fmt: skip
_TWELVE: Final = (
    *(
        LabHost(f"w{n:02}", f"{NETWORK}.{20 + n}", "trixie", *_CLASSES[(n - 1) // 3], "root", _DOCKER, 12)
        for n in range(1, 13)
    ),
    LabHost("g1", f"{NETWORK}.10", "bookworm", "", 0, "root", _BALANCER, 4),
    LabHost("g2", f"{NETWORK}.14", "trixie", "", 0, "root", _BALANCER, 4),
)
SHAPES: Final = {"three": _THREE, "twelve": _TWELVE}
#: The shape that was raised last and not ended, so that who looks at the lab needn't say it again.
REMEMBERED: Final = machine.work() / "shape"


def _shape() -> str:
    told = os.environ.get("FLEET_LAB_SHAPE", "")
    try:
        return told or REMEMBERED.read_text().strip() or "three"
    except OSError:
        return "three"


#: Which hosts the lab has: ``three`` with a gateway, or ``twelve`` with two, for rollouts under load.
SHAPE: Final = _shape()
HOSTS: Final = SHAPES.get(SHAPE, _THREE)
#: Every host that any shape has, each once: what an earlier lab may have left behind.
EVERY: Final = tuple({host.name: host for shape in SHAPES.values() for host in shape}.values())
#: The inventory that names this shape's hosts.
INVENTORY: Final = f"inventory/{'lab' if SHAPE == 'three' else SHAPE}.yml"
#: The password of the user ops, whose sudo asks for it. No secret: the host lives on this machine alone.
OPS_PASSWORD: Final = "lab-sesame-17"
