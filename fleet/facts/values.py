"""What was found out about a host: plain values, nothing guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """One GPU as nvidia-smi tells it; memory in MiB."""

    index: int
    uuid: str
    name: str
    bus_id: str
    memory_mib: int
    used_mib: int
    driver: str
    compute_capability: str
    mig: str


@dataclass(frozen=True)
class PciGpu:
    """One NVIDIA device on the bus, driver or not. ``device`` is its PCI id, e.g. 0x20b0."""

    bus_id: str
    device: int
    words: str
    is_nvswitch: bool = False

    @property
    def open_modules(self) -> bool:
        """Whether NVIDIA's open kernel modules support it: Turing (0x1e02 and up) and newer."""
        return self.device >= 0x1E00


@dataclass(frozen=True)
class Container:
    """A container on the host; ``instance`` is ours by label, or empty."""

    name: str
    state: str
    image: str
    instance: str
    id: str


@dataclass(frozen=True)
class GpuProcess:
    """A process on a GPU; memory in MiB (-1 where the driver doesn't say)."""

    pid: int
    gpu_uuid: str
    name: str
    used_mib: int


@dataclass(frozen=True)
class Listener:
    """Something that listens on TCP."""

    address: str
    port: int
    process: str


@dataclass(frozen=True)
class Disk:
    """A file system: where it was looked at, its device, its size and what is free, in KiB."""

    path: str
    device: str
    size_kib: int
    free_kib: int


@dataclass(frozen=True)
class Facts:
    """What one host is. Missing things are empty, never guessed."""

    os_id: str
    os_like: tuple[str, ...]
    os_version: str
    os_codename: str
    os_name: str
    kernel: str
    arch: str
    hostname: str
    boot_id: str
    time: int
    cpus: int
    memory_kib: int
    systemd: int
    package_manager: str
    python: str
    secure_boot: bool
    nouveau_loaded: bool
    nvidia_loaded: bool
    driver_on_disk: str
    driver_loaded: str
    smi: bool
    smi_error: str
    docker_version: str
    docker_error: str
    cgroup_driver: str
    docker_root: str
    live_restore: bool
    runtimes: tuple[str, ...]
    reboot_required: bool
    unattended_upgrades: bool
    root: bool = True
    clock_skew: int = 0  #: seconds that the host's clock is ahead of ours
    container: str = ""  #: what contains the host where it is itself a container (lxc, systemd-nspawn): not its kernel
    driver_ours: bool = False  #: files of ours for the driver are there
    limits_fixed: bool = False
    haproxy_confined: bool = False  #: SELinux lets HAProxy bind and reach few ports only
    swarm: bool = False  #: Docker is part of a swarm, which rules out live-restore
    gpus: tuple[Gpu, ...] = ()
    pci_gpus: tuple[PciGpu, ...] = ()
    containers: tuple[Container, ...] = ()
    gpu_processes: tuple[GpuProcess, ...] = ()
    listeners: tuple[Listener, ...] = ()
    disks: tuple[Disk, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    runtime_packages: tuple[tuple[str, str], ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    instances: tuple[str, ...] = ()
    remembered_gpus: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """``debian`` or ``rhel``, by the package manager and os-release; empty for anything else."""
        if self.package_manager == "apt":
            return "debian"
        return "rhel" if self.package_manager == "dnf" else ""

    @property
    def release(self) -> str:
        """The release that packages are made for: ``debian-12``, ``ubuntu-22.04``, ``rhel-9``; empty where unknown.

        A system that is like RHEL counts as the RHEL it follows; Alibaba Cloud Linux 3 follows RHEL 8.
        """
        if self.os_id in ("debian", "ubuntu") and self.os_version:
            return f"{self.os_id}-{self.os_version}"
        if self.os_id == "alinux":
            return "rhel-8" if self.os_version.partition(".")[0] == "3" else ""
        major = self.os_version.partition(".")[0]
        like_rhel = self.os_id in ("rhel", "centos", "rocky", "almalinux", "ol", "anolis") or "rhel" in self.os_like
        return f"rhel-{major}" if like_rhel and major in ("8", "9") else ""

    @property
    def docker_major(self) -> int:
        """Docker's major version, 0 where it isn't running."""
        head = self.docker_version.split(".", 1)[0]
        return int(head) if head.isdigit() else 0

    @property
    def serving(self) -> tuple[str, ...]:
        """The instances of ours whose container runs."""
        return tuple(c.instance for c in self.containers if c.instance and c.state == "running")

    @property
    def jobs(self) -> tuple[str, ...]:
        """The transient units of ours that are at work."""
        return tuple(u for u, s in self.units.items() if u.startswith("fleet-job-") and s in ("active", "activating"))

    def free_kib(self, path: str) -> int:
        """What is free, in KiB, on the file system of the longest known prefix of ``path``."""
        fits = [d for d in self.disks if path == d.path or path.startswith(d.path.rstrip("/") + "/")]
        return max(fits, key=lambda d: len(d.path)).free_kib if fits else 0

    def as_json(self) -> dict[str, Any]:
        """The object of ``facts --json``: os, gpus, driver, runtime, disks, network."""
        return {
            "os": {
                "id": self.os_id,
                "like": list(self.os_like),
                "version": self.os_version,
                "name": self.os_name,
                "kernel": self.kernel,
                "arch": self.arch,
                "cpus": self.cpus,
                "memory_kib": self.memory_kib,
                "systemd": self.systemd,
            },
            "gpus": [asdict(gpu) for gpu in self.gpus],
            "driver": {
                "loaded": self.driver_loaded,
                "on_disk": self.driver_on_disk,
                "nouveau": self.nouveau_loaded,
                "secure_boot": self.secure_boot,
                "pci": [asdict(gpu) for gpu in self.pci_gpus],
                "error": self.smi_error,
            },
            "runtime": {
                "docker": self.docker_version,
                "error": self.docker_error,
                "cgroup_driver": self.cgroup_driver,
                "root": self.docker_root,
                "runtimes": list(self.runtimes),
                "containers": [asdict(container) for container in self.containers],
            },
            "disks": [asdict(disk) for disk in self.disks],
            "network": {
                "addresses": [{"interface": i, "address": a} for i, a in self.addresses],
                "listeners": [asdict(listener) for listener in self.listeners],
            },
        }
