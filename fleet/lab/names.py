"""What the lab is made of: its hosts, their addresses (198.18.0.0/15 is set aside for tests, RFC 2544), its places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.lab import machine

SWITCH: Final = "fleetlab"  #: the namespace of the bridge
SERVICES: Final = "fleetlab-svc"  #: the namespace of registry, mirror and hub
CONTROL_LINK: Final = "fleetlab-ctl"
CONTROL: Final = "198.18.77.1"
SERVICE: Final = "198.18.77.2"
REGISTRY_PORT: Final = 5000
MIRROR_PORT: Final = 8081
HUB_PORT: Final = 8082
REGISTRY: Final = f"{SERVICE}:{REGISTRY_PORT}"  #: by address: the control side asks it too, and has no such name
IMAGE: Final = "egs/vllm"


@dataclass(frozen=True)
class LabHost:
    """One host: its Debian release, its GPUs (catalog kind and count), and who logs in there."""

    name: str
    address: str
    release: str
    gpu: str
    count: int
    user: str

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return f"fleetlab-{self.name}"

    @property
    def place(self) -> Path:
        """Its disk and logs on this machine."""
        return machine.work() / "hosts" / self.name

    @property
    def root(self) -> Path:
        """Where its file system is mounted."""
        return self.place / "root"


#: bookworm brings Docker 20.10 (GPUs by hook), trixie Docker 26 (GPUs by CDI): both ways, and two kinds of GPU.
HOSTS: Final = (
    LabHost("h1", "198.18.77.11", "bookworm", "NVIDIA A10", 1, "root"),
    LabHost("h2", "198.18.77.12", "trixie", "NVIDIA A100-SXM4-40GB", 2, "root"),
    LabHost("h3", "198.18.77.13", "trixie", "NVIDIA A10", 2, "ops"),
)
#: The password of the user ops, whose sudo asks for it. No secret: the host lives on this machine alone.
OPS_PASSWORD: Final = "lab-sesame-17"
