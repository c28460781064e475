"""NVIDIA's driver: the right flavour of the right branch, pinned, held, loaded, and kept from unattended upgrades.

A driver that is there and does what is asked is respected: nothing of it is touched unless this role brought it.
Installed is what NVIDIA's guides install from its CUDA repository: ``nvidia-open`` or ``cuda-drivers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from fleet.facts import Facts
from fleet.mirrors import mirrors_of
from fleet.resource import Pending, Problem, Resource
from fleet.resources import (
    DOCKER,
    DRIVER,
    DnfModule,
    File,
    Held,
    Initramfs,
    NvidiaModule,
    Packages,
    Repository,
    Service,
)
from fleet.target import TEMPLATES, Target
from fleet.templates import render
from roles.vllm_image import DRIVERS

#: The branch where none is told: it runs CUDA 12 and 13, and is the last that has modules for all of NVIDIA's GPUs.
BRANCH: Final = 580
#: The first branch without proprietary modules (NVIDIA's driver installation guide, release 620).
OPEN_ONLY: Final = 620
#: PCI ids from here on are Blackwell, which only the open modules run.
BLACKWELL: Final = 0x2900
#: The first branch whose fabric manager's package is named without its branch.
PLAIN_FABRIC: Final = 580
#: All packages that come with the driver; what else matches (the container toolkit) has other versions.
PARTS: Final = ("*nvidia*", "cuda-drivers*", "libcuda1*", "libcudadebugger1*", "libnvcuvid1*", "libnvoptix1*")
MODPROBE: Final = "/etc/modprobe.d/fleet-nvidia.conf"
DROP_IN: Final = "/etc/systemd/system/nvidia-persistenced.service.d/fleet.conf"
Flavour = Literal["open", "proprietary"]


def resources(target: Target) -> Iterator[Resource]:
    """Where packages come from, what keeps them still, the packages, the module, and the daemons around it."""
    facts = target.facts
    if target.only_gateway or not managed(target) or not facts.pci_gpus:
        return
    source = mirrors_of(target.settings).source("cuda", facts)
    if source is None:
        return
    apt = facts.family == "debian"
    manager: Literal["apt", "dnf"] = "apt" if apt else "dnf"
    version = wanted_version(target)
    yield Repository(
        manager, "cuda", source.url, source.key_url, source.fingerprint, source.suite, source.components, source.signed
    )
    yield File(MODPROBE, _template("modprobe.conf"))
    if apt:
        yield File("/etc/apt/preferences.d/fleet-nvidia", _template("preferences", version=version))
        yield File("/etc/apt/apt.conf.d/52fleet-nvidia", _template("unattended-upgrades"))
    else:
        yield DnfModule("nvidia-driver", stream(target), DRIVER)
    if not facts.container:
        yield Packages(manager, headers(facts))
    yield Packages(manager, packages(target), hold=apt, may_remove=bool(facts.driver_on_disk), guard=DRIVER)
    yield Held("nvidia-driver", manager, PARTS, version)
    if not facts.container:
        yield Initramfs((MODPROBE,))
    yield NvidiaModule(target.settings.driver.reboot == "when-needed")
    yield File(DROP_IN, _template("persistenced.conf"))
    # a daemon-reload takes GPUs from containers that run with systemd's cgroups (NVIDIA/nvidia-container-toolkit#48)
    yield Service(
        "nvidia-persistenced.service", inputs=(DROP_IN,), guard=DOCKER if facts.cgroup_driver == "systemd" else None
    )
    yield from _fabric_manager(target, manager)


def problems(target: Target) -> Iterator[Problem]:
    """What keeps the GPUs of this host from working, told before anything is changed."""
    facts, driver = target.facts, target.settings.driver
    if target.only_gateway:
        return
    if not facts.pci_gpus and not facts.gpus:
        if target.settings.instances:
            yield Problem("no NVIDIA GPU on the bus", "is it the right host? lspci | grep -i nvidia")
        return
    if not driver.manage:
        if not facts.gpus:
            words = f"driver.manage is false and no driver works here ({facts.smi_error or 'no nvidia-smi'})"
            yield Problem(words, "install one, or let this tool do it: driver.manage: true")
        return
    if not managed(target):
        return
    if _foreign(facts):
        yield _unfit(target)
        return
    yield from _impossible(target)
    if mirrors_of(target.settings).source("cuda", facts) is None:
        yield Problem(
            f"NVIDIA has no packages for {facts.os_name}", "install the driver, then set driver.manage: false"
        )
    if facts.secure_boot and not facts.driver_loaded:
        yield Problem(
            "Secure Boot is on: the kernel refuses modules that are built on the host",
            "turn it off, or enrol a key for DKMS at the console (mokutil --import), or install modules that your"
            " system signs and set driver.manage: false",
        )
    if facts.nouveau_loaded and driver.reboot == "never":
        yield Problem(
            "nouveau holds the GPUs: a reboot will be needed after the driver is installed",
            "set driver.reboot: when-needed, or reboot by hand and run again",
            "warning",
        )


def managed(target: Target) -> bool:
    """Whether the driver is ours to bring about: not where one that does what is asked was there before us."""
    facts = target.facts
    if not target.settings.driver.manage:
        return False
    return facts.driver_ours or not facts.gpus or bool(_shortfall(target))


def wanted_branch(target: Target) -> int:
    """The driver's branch, e.g. 580."""
    driver = target.settings.driver
    return int(driver.version.partition(".")[0]) if driver.version else driver.branch or BRANCH


def wanted_version(target: Target) -> str:
    """The versions that will do, as a shell pattern: ``580.*``, or ``580.95.05*`` where one is told."""
    version = target.settings.driver.version
    return f"{version}*" if version else f"{wanted_branch(target)}.*"


def wanted_flavour(target: Target) -> Flavour:
    """Open modules where all GPUs have them (Turing and newer), else proprietary ones."""
    told = target.settings.driver.flavour
    if told != "auto":
        return told
    return "open" if all(gpu.open_modules for gpu in target.facts.pci_gpus if not gpu.is_nvswitch) else "proprietary"


def packages(target: Target) -> tuple[str, ...]:
    """The packages that bring the driver, each at the wanted version."""
    names = ["nvidia-open" if wanted_flavour(target) == "open" else "cuda-drivers"]
    if target.facts.os_id == "debian":
        names.append("nvidia-persistenced")  # elsewhere it comes inside another package
    return tuple(f"{name}={wanted_version(target)}" for name in names)


def stream(target: Target) -> str:
    """The stream of dnf's nvidia-driver module."""
    return f"{wanted_branch(target)}-{'open' if wanted_flavour(target) == 'open' else 'dkms'}"


def headers(facts: Facts) -> tuple[str, ...]:
    """What DKMS needs to build modules for the running kernel."""
    return (f"linux-headers-{facts.kernel}",) if facts.family == "debian" else (f"kernel-devel-{facts.kernel}",)


def _fabric_manager(target: Target, manager: Literal["apt", "dnf"]) -> Iterator[Resource]:
    """On NVSwitch hosts only, and at exactly the driver's version: CUDA fails there without it (error 802)."""
    facts = target.facts
    if not any(gpu.is_nvswitch for gpu in facts.pci_gpus):
        return
    branch = wanted_branch(target)
    name = f"nvidia-fabricmanager-{branch}" if manager == "apt" and branch < PLAIN_FABRIC else "nvidia-fabricmanager"
    if not facts.driver_on_disk:
        yield Pending(f"packages:{name}", "the driver's exact version")
        return
    yield Packages(manager, (f"{name}={facts.driver_on_disk}*",), hold=True)
    yield Service("nvidia-fabricmanager.service")


def _shortfall(target: Target) -> str:
    """What the driver that works now doesn't do of what is asked, in words; empty where it does all."""
    facts, driver = target.facts, target.settings.driver
    major = int(facts.driver_loaded.partition(".")[0] or 0)
    need = DRIVERS.get((target.settings.image.cuda or "").partition(".")[0], 0)
    if driver.version and facts.driver_loaded != driver.version:
        return f"driver.version asks for {driver.version}"
    if driver.branch and major != driver.branch:
        return f"driver.branch asks for {driver.branch}"
    if major < need:
        return f"the image's CUDA {target.settings.image.cuda} needs {need} or newer"
    return ""


def _foreign(facts: Facts) -> bool:
    """Whether a driver is there that somebody else installed."""
    return not facts.driver_ours and bool(facts.driver_loaded or facts.driver_on_disk or facts.gpus)


def _unfit(target: Target) -> Problem:
    """A driver of somebody else's that doesn't do: two ways of installing don't mix, so it is theirs to take away."""
    facts = target.facts
    found = facts.driver_loaded or facts.driver_on_disk
    why = _shortfall(target) if facts.gpus else f"nvidia-smi says: {facts.smi_error or 'nothing, it is missing'}"
    return Problem(
        f"driver {found} was installed here by other means, and {why}",
        "take it away as it came (nvidia-uninstall, or apt purge / dnf remove) and run again, or mend it and set"
        " driver.manage: false",
    )


def _impossible(target: Target) -> Iterator[Problem]:
    """Branches and flavours that NVIDIA doesn't make for these GPUs."""
    gpus = [gpu for gpu in target.facts.pci_gpus if not gpu.is_nvswitch]
    flavour, branch = wanted_flavour(target), wanted_branch(target)
    old = [gpu.words for gpu in gpus if not gpu.open_modules]
    blackwell = [gpu.words for gpu in gpus if gpu.device >= BLACKWELL]
    if flavour == "open" and old:
        yield Problem(f"open modules don't run {old[0]}", "they begin with Turing: driver.flavour: auto or proprietary")
    if flavour == "proprietary" and blackwell:
        yield Problem(f"proprietary modules don't run {blackwell[0]}", "driver.flavour: auto or open")
    if flavour == "proprietary" and branch >= OPEN_ONLY:
        yield Problem(
            f"branch {branch} has no proprietary modules", f"they ended with {OPEN_ONLY}: driver.branch: {BRANCH}"
        )
    if old and branch > BRANCH:
        yield Problem(
            f"branch {branch} doesn't run {old[0]}", f"{BRANCH} is the last that does: driver.branch: {BRANCH}"
        )


def _template(name: str, **values: object) -> str:
    return render(TEMPLATES / "nvidia_driver" / f"{name}.j2", values)
