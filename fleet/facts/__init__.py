"""What a host is: operating system, GPUs, driver, container runtime, disks, network. Asked in one command."""

from pathlib import Path
from typing import Final

from fleet.facts.read import read
from fleet.facts.values import Container, Disk, Facts, Gpu, GpuProcess, Listener, PciGpu
from fleet.shell import PREAMBLE

#: The fields asked of nvidia-smi, in this order (names as `nvidia-smi --help-query-gpu` has them).
GPU_QUERY: Final = "index,uuid,name,pci.bus_id,memory.total,memory.used,driver_version,compute_cap,mig.mode.current"
APPS_QUERY: Final = "pid,gpu_uuid,process_name,used_memory"

#: The one command that asks for all of it.
SCRIPT: Final = f"{PREAMBLE}\n" + (
    Path(__file__)
    .with_name("facts.sh")
    .read_text()
    .replace("@GPU_QUERY@", GPU_QUERY)
    .replace("@APPS_QUERY@", APPS_QUERY)
)

__all__ = [
    "APPS_QUERY",
    "GPU_QUERY",
    "SCRIPT",
    "Container",
    "Disk",
    "Facts",
    "Gpu",
    "GpuProcess",
    "Listener",
    "PciGpu",
    "read",
]
