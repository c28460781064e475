"""What can't exist on this machine, simulated at the edge: GPUs, their driver, their container toolkit.

Programs on the hosts, and Debian packages under NVIDIA's names. The engine knows nothing of it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fleet.lab.machine import run
from fleet.lab.names import LabHost

PROGRAMS: Final = Path(__file__).with_name("programs")
#: What a bare host has before any package of NVIDIA's: the bus and the kernel's modules, as far as anyone can ask.
_BARE: Final = ("lspci", "lsmod", "modprobe", "modinfo", "mokutil", "lab-boot")
#: GPU (as nvidia-smi names it) → memory.total and memory.reserved in MiB, compute capability, PCI device, chip.
KINDS: Final = {
    "Tesla T4": (15360, 414, "7.5", "1eb8", "TU104GL"),
    "NVIDIA A10": (23028, 512, "8.6", "2236", "GA102GL"),
    "NVIDIA A100-SXM4-40GB": (40960, 555, "8.0", "20b0", "GA100"),
    "NVIDIA H100 80GB HBM3": (81559, 480, "9.0", "2330", "GH100"),
}
DRIVERS: Final = ("570.124.06", "580.95.05")
TOOLKIT: Final = "1.17.8"


def gpu_rows(host: LabHost) -> str:
    """``index|uuid|name|bus|total|reserved|capability|device|chip``, a line a GPU; the same host, the same UUIDs."""
    if not host.count:
        return ""
    total, reserved, capability, device, chip = KINDS[host.gpu]
    rows = []
    for index in range(host.count):
        h = hashlib.sha256(f"{host.name}/{index}".encode()).hexdigest()
        uuid = f"GPU-{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"
        bus = f"00000000:00:{6 + index:02X}.0"
        rows.append("|".join(map(str, (index, uuid, host.gpu, bus, total, reserved, capability, device, chip))))
    return "\n".join(rows) + "\n"


def furnish(host: LabHost) -> None:
    """Give a host its GPUs, and the programs with which a bare host tells of them."""
    lab = host.root / "etc/fleet-lab"
    lab.mkdir(parents=True, exist_ok=True)
    (lab / "gpus").write_text(gpu_rows(host))
    for name in _BARE:
        shutil.copy2(PROGRAMS / name, host.root / "usr/local/sbin" / name)
    unit = host.root / "etc/systemd/system/lab-boot.service"
    unit.write_text(
        "[Unit]\nDescription=Kernel modules of the simulated GPUs (lab)\nDefaultDependencies=no\nBefore=basic.target\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/local/sbin/lab-boot\n"
    )
    wanted = host.root / "etc/systemd/system/basic.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")


def build_driver(into: Path, kernel: str) -> None:
    """The driver's packages (CUDA repository's names), for each version, into the directory ``into``."""
    for version in DRIVERS:
        branch, full = version.split(".")[0], f"{version}-1"
        smi = {"usr/bin/nvidia-smi": "nvidia-smi", "usr/share/fleet-lab/driver": f"={version}\n"}
        load = '#!/bin/sh\nset -e\n[ "$1" = configure ] && /usr/local/sbin/modprobe nvidia 2>/dev/null || true\n'
        _deb(into, "nvidia-driver-cuda", full, files=smi, postinst=load, depends="nvidia-persistenced")
        for name in ("nvidia-kernel-open-dkms", "nvidia-kernel-dkms"):
            words = "Dual MIT/GPL" if "open" in name else "NVIDIA"
            other = "nvidia-kernel-dkms" if "open" in name else "nvidia-kernel-open-dkms"
            _deb(
                into, name, full, files={"usr/share/fleet-lab/license": f"={words}\n"}, depends="dkms", conflicts=other
            )
        _deb(into, "nvidia-open", full, depends=f"nvidia-driver-cuda (= {full}), nvidia-kernel-open-dkms (= {full})")
        _deb(into, f"nvidia-open-{branch}", full, depends=f"nvidia-open (= {full})")
        _deb(into, "cuda-drivers", full, depends=f"nvidia-driver-cuda (= {full}), nvidia-kernel-dkms (= {full})")
        _deb(into, f"cuda-drivers-{branch}", full, depends=f"cuda-drivers (= {full})")
        install = "[Install]\nWantedBy=multi-user.target\n"
        unit = f"=[Unit]\nDescription=NVIDIA (simulated)\n[Service]\nExecStart=/bin/sleep infinity\n{install}"
        _deb(into, "nvidia-persistenced", full, files={"lib/systemd/system/nvidia-persistenced.service": unit})
        for name in ("nvidia-fabricmanager", f"nvidia-fabricmanager-{branch}"):
            _deb(into, name, full, files={f"lib/systemd/system/{name}.service": unit})
        pin = f"=Package: *nvidia* cuda-drivers*\nPin: version {branch}.*\nPin-Priority: 1001\n"
        _deb(into, f"nvidia-driver-pinning-{branch}", "1", files={f"etc/apt/preferences.d/nvidia-{branch}": pin})
    _deb(into, "dkms", "3.0.10-8", files={"usr/sbin/dkms": "dkms"})
    for name in (f"linux-headers-{kernel}", "linux-headers-amd64", "linux-headers-cloud-amd64"):
        _deb(into, name, "1", files={f"usr/share/doc/{name}/simulated": "=headers of the lab's kernel\n"})


def build_toolkit(into: Path) -> None:
    """The container toolkit's four packages, one version."""
    version = f"{TOOLKIT}-1"
    _deb(into, "libnvidia-container1", version)
    _deb(into, "libnvidia-container-tools", version, depends=f"libnvidia-container1 (= {version})")
    hook = {
        "usr/bin/nvidia-container-runtime-hook": "nvidia-container-runtime-hook",
        "usr/bin/nvidia-ctk": "nvidia-ctk",
    }
    _deb(into, "nvidia-container-toolkit-base", version, files=hook)
    _deb(into, "nvidia-container-toolkit", version,
         depends=f"nvidia-container-toolkit-base (= {version}), libnvidia-container-tools (= {version})")  # fmt: skip


def sources() -> Iterator[Path]:
    """All files that the packages are made of: what their cache is keyed by."""
    yield from sorted(PROGRAMS.iterdir())
    yield Path(__file__)


def _deb(
    into: Path,
    name: str,
    version: str,
    *,
    files: dict[str, str] | None = None,
    depends: str = "",
    conflicts: str = "",
    postinst: str = "",
) -> None:
    """One package; a file's content is a program of the lab's, or text after ``=``."""
    root = into / f".build-{name}"
    shutil.rmtree(root, ignore_errors=True)
    for path, content in (files or {}).items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("="):
            target.write_text(content[1:])
        else:
            shutil.copy2(PROGRAMS / content, target)
    control = root / "DEBIAN"
    control.mkdir(parents=True)
    fields = {
        "Package": name, "Version": version, "Architecture": "amd64", "Maintainer": "lab <lab@localhost>",
        "Depends": depends, "Conflicts": conflicts, "Description": "simulated for the lab of vllm-fleet",
    }  # fmt: skip
    (control / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items() if value))
    if postinst:
        (control / "postinst").write_text(postinst)
        (control / "postinst").chmod(0o755)
    conf = [f"/{path}" for path in files or {} if path.startswith("etc/")]
    if conf:
        (control / "conffiles").write_text("\n".join(conf) + "\n")
    run(["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", root, into / f"{name}_{version}_amd64.deb"])
    shutil.rmtree(root)
