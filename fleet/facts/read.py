"""From the facts script's answer to :class:`Facts`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fleet.facts.values import Container, Disk, Facts, Gpu, GpuProcess, Listener, PciGpu


def read(answer: str, *, now: float | None = None) -> Facts:
    """The facts in the script's answer; ``now`` is this machine's time when it came (none: no skew is known).

    Raises:
        ValueError: the answer isn't whole.
    """
    one: dict[str, str] = {}
    many: dict[str, list[str]] = {}
    for line in answer.split("\n"):  # not splitlines: a form feed in a name ends no line
        key, separator, value = line.partition("=")
        if not separator:
            continue
        if key.endswith("+"):
            many.setdefault(key[:-1], []).append(value)
        else:
            one[key] = value.strip()
    if one.get("facts_end") != "yes":
        msg = "the answer to the facts script was cut off"
        raise ValueError(msg)
    docker = (one.get("docker", "") + "||||").split("|", 4)
    gpus = tuple(_gpu(row) for row in many.get("gpu", ()) if row.count(",") >= 8)
    proc = one.get("nvidia_proc", "")
    return Facts(
        os_id=one.get("os_id", ""),
        os_like=tuple(one.get("os_like", "").split()),
        os_version=one.get("os_version", ""),
        os_codename=one.get("os_codename", ""),
        os_name=one.get("os_name", ""),
        kernel=one.get("kernel", ""),
        arch=one.get("arch", ""),
        hostname=one.get("hostname", ""),
        boot_id=one.get("boot_id", ""),
        time=_int(one.get("time")),
        cpus=_int(one.get("cpus")),
        memory_kib=_int(one.get("memory_kib")),
        systemd=_int(one.get("systemd")),
        limits_fixed=_lacks_sys_resource(one.get("capabilities", "")),
        package_manager=one.get("packages", ""),
        python=one.get("python", ""),
        secure_boot="enabled" in one.get("secure_boot", ""),
        haproxy_confined=one.get("haproxy_confined") == "yes",
        nouveau_loaded=one.get("nouveau") == "loaded",
        nvidia_loaded=one.get("nvidia_module") == "loaded",
        driver_on_disk=one.get("nvidia_modinfo", ""),
        driver_loaded=next((g.driver for g in gpus), "") or _proc_version(proc),
        smi=one.get("smi") == "yes",
        smi_error=one.get("smi_error", ""),
        docker_version=docker[0],
        docker_error=one.get("docker_error", ""),
        cgroup_driver=docker[1],
        docker_root=docker[2],
        live_restore=docker[3].startswith("true"),
        swarm=docker[3].endswith(" active"),
        runtimes=_runtimes(docker[4].rstrip("|")),
        reboot_required=one.get("reboot_required") == "yes",
        unattended_upgrades=one.get("apt_upgrades") == "enabled",
        root=one.get("uid", "0") == "0",
        clock_skew=0 if now is None else _int(one.get("time")) - round(now),
        container=one.get("container", ""),
        driver_ours=one.get("driver_ours") == "yes",
        gpus=gpus,
        pci_gpus=tuple(found for row in many.get("pci", ()) if (found := _pci(row))),
        containers=tuple(Container(*row.split("|", 4)) for row in many.get("container", ()) if row.count("|") >= 4),
        gpu_processes=tuple(_process(row) for row in many.get("app", ()) if row.count(",") >= 3),
        listeners=tuple(_listeners(many)),
        disks=tuple(_disk(row) for row in many.get("disk", ()) if len(row.split()) == 4),
        addresses=tuple((row.split()[0], row.split()[1]) for row in many.get("address", ()) if len(row.split()) == 2),
        runtime_packages=tuple(
            (row.split(" ", 1)[0], row.split(" ", 1)[1]) for row in many.get("runtime_package", ()) if " " in row
        ),
        units={row.split()[0]: row.split()[-1] for row in many.get("unit", ()) if row.split()},
        instances=tuple(many.get("instance", ())),
        remembered_gpus=_remembered(one.get("gpus_remembered", "")),
    )


def _int(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        return 0


def _lacks_sys_resource(capabilities: str) -> bool:
    """Whether a CapEff mask says that limits can't be raised (CAP_SYS_RESOURCE is bit 24 in linux/capability.h)."""
    try:
        return not int(capabilities, 16) >> 24 & 1
    except ValueError:
        return False


def _gpu(row: str) -> Gpu:
    index, uuid, name, bus, total, used, driver, capability, mig = (part.strip() for part in row.split(",", 8))
    return Gpu(_int(index), uuid, name, bus, _int(total), _int(used), driver, capability, mig)


def _pci(row: str) -> PciGpu | None:
    """One line of ``lspci -Dnn``: ``0000:00:06.0 3D controller [0302]: NVIDIA … [10de:20b0] (rev a1)``."""
    bus, _, words = row.partition(" ")
    _, _, after = words.rpartition("[10de:")
    device = after[:4]
    try:
        return PciGpu(bus, int(device, 16), words.strip(), is_nvswitch="[0680]" in words)
    except ValueError:
        return None


def _process(row: str) -> GpuProcess:
    pid, uuid, rest = (part.strip() for part in row.split(",", 2))
    name, _, used = rest.rpartition(",")
    return GpuProcess(_int(pid), uuid, name.strip(), _int(used.strip()) if used.strip().isdigit() else -1)


def _disk(row: str) -> Disk:
    path, device, size, free = row.split()
    return Disk(path, device, _int(size), _int(free))


def _listeners(many: Mapping[str, list[str]]) -> list[Listener]:
    found = []
    for row in many.get("port", ()):
        place, _, process = row.partition(" ")
        address, _, port = place.rpartition(":")
        found.append(Listener(address.strip("[]") or "*", _int(port), process))
    for row in many.get("tcp", ()):  # /proc/net/tcp: hexadecimal, the address in the machine's byte order
        address, _, port = row.rpartition(":")
        found.append(Listener(_hex_address(address), int(port, 16), ""))
    return found


def _hex_address(text: str) -> str:
    if len(text) == 8:
        return ".".join(str(int(text[i : i + 2], 16)) for i in (6, 4, 2, 0))
    return "::" if set(text) == {"0"} else "::1" if text.endswith("01000000") else text


def _proc_version(line: str) -> str:
    """The version in ``NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build …``."""
    return next((word for word in line.split() if word[:1].isdigit() and word.count(".") >= 1), "")


def _runtimes(text: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(json.loads(text)))
    except (ValueError, TypeError):
        return ()


def _remembered(text: str) -> dict[str, tuple[str, ...]]:
    """Which GPUs (by UUID) each instance was given; a damaged file counts as none."""
    try:
        return {str(name): tuple(map(str, uuids)) for name, uuids in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        return {}
