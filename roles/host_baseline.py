"""A host that everything else can build on: tools, directories, limits, proxies, trusted authorities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from fleet.facts import Facts
from fleet.resource import Problem, Resource
from fleet.resources import Absent, Directory, File, IniKeys, Packages, SysctlMinimums, TrustedCa
from fleet.secret import Secret
from fleet.settings import Proxy
from fleet.target import TEMPLATES, Target
from fleet.templates import render

#: What was made for; each release with the words that people know it by.
SUPPORTED: Final = {
    "debian-12": "Debian 12",
    "debian-13": "Debian 13",
    "ubuntu-22.04": "Ubuntu 22.04",
    "ubuntu-24.04": "Ubuntu 24.04",
    "rhel-8": "RHEL 8 and its likes, Alibaba Cloud Linux 3",
    "rhel-9": "RHEL 9 and its likes",
}
#: Tools that the other roles use on a host, and nothing that only a person would miss.
TOOLS: Final = {
    "debian": ("ca-certificates", "gpg", "kmod", "pciutils"),
    "rhel": ("ca-certificates", "gnupg2", "kmod", "pciutils", "python3-dnf-plugin-versionlock"),
}
#: Shards of big models and CUDA's own allocations are many mappings; a server's backlog is many connections.
SYSCTL: Final = {"vm.max_map_count": 262144, "net.core.somaxconn": 4096}
#: The oldest systemd that was looked at (RHEL 8), seconds of clock skew that TLS and tokens forgive, sizes in KiB.
OLDEST_SYSTEMD, MOST_SKEW, LEAST_MEMORY, LEAST_DISK = 239, 300, 8 * 1024**2, 2 * 1024**2
APT_PROXY: Final = "/etc/apt/apt.conf.d/95fleet-proxy"


def resources(target: Target) -> Iterator[Resource]:
    """Proxy first (packages come through it), then tools, authorities, directories and limits."""
    facts, family = target.facts, target.facts.family
    if family == "debian":
        yield _apt_proxy(target.settings.proxy)
    elif family == "rhel":
        proxy = target.settings.proxy.http or target.settings.proxy.https
        yield IniKeys("/etc/dnf/dnf.conf", "main", {"proxy": _hidden(proxy) if proxy else None})
    if family:
        yield Packages("apt" if family == "debian" else "dnf", TOOLS[family])
    if target.ca and (facts.family == "debian" or facts.family == "rhel"):
        yield TrustedCa("mirrors", target.ca, "debian" if family == "debian" else "rhel")
    yield Directory("/etc/fleet")
    yield Directory("/var/lib/fleet")
    yield File("/etc/security/limits.d/60-fleet.conf", render(TEMPLATES / "host_baseline" / "limits.conf.j2", {}))
    yield SysctlMinimums(SYSCTL)


def problems(target: Target) -> Iterator[Problem]:
    """What is wrong with the host itself, all at once. Nothing has been changed yet when this is read."""
    facts = target.facts
    yield from _system(facts)
    if facts.memory_kib and facts.memory_kib < LEAST_MEMORY and not target.only_gateway:
        yield Problem(
            f"{facts.memory_kib / 1024**2:.1f} GiB of memory: loading a model needs more",
            "8 GiB is the least; a model's weights pass through memory on their way to the GPUs",
            "warning",
        )
    for disk in facts.disks:
        if disk.path == "/" and disk.free_kib < LEAST_DISK:
            yield Problem(
                f"{disk.free_kib / 1024**2:.1f} GiB free on / ({disk.device}): packages need 2 GiB",
                "make room: journalctl --vacuum-size=200M, the package manager's cache, old kernels",
            )
    if abs(facts.clock_skew) > MOST_SKEW:
        ahead = "ahead of" if facts.clock_skew > 0 else "behind"
        yield Problem(
            f"the clock is {abs(facts.clock_skew)} s {ahead} this machine's: certificates will be refused",
            "set one of the two right: timedatectl set-ntp true",
        )
    foreign = sorted(c.name for c in facts.containers if not c.instance and c.state == "running")
    if foreign:
        yield Problem(
            f"containers that aren't ours run here: {', '.join(foreign)}",
            "they are left alone; what would stop them waits for a rollout",
            "warning",
        )
    if facts.reboot_required:
        yield Problem("the system asks for a reboot", "plan one; the running kernel or libraries are old", "warning")


def _system(facts: Facts) -> Iterator[Problem]:
    """The operating system and how we got onto it."""
    if facts.release not in SUPPORTED:
        name = facts.os_name or facts.os_id or "an unknown system"
        yield Problem(f"{name} is not supported", f"supported: {'; '.join(SUPPORTED.values())}")
    elif not facts.family:
        yield Problem(f"{facts.os_name} without apt-get and dnf", "is PATH whole for this login?")
    if facts.arch not in ("x86_64", "aarch64"):
        yield Problem(f"the machine is {facts.arch or 'of an unknown kind'}", "x86_64 and aarch64 are supported")
    if facts.systemd < OLDEST_SYSTEMD:
        found = f"systemd {facts.systemd}" if facts.systemd else "no systemd"
        yield Problem(f"{found} on the host", f"services are systemd units; {OLDEST_SYSTEMD} is the oldest supported")
    if not facts.root:
        yield Problem(
            "commands don't run as root there",
            "set ansible_user: root, or ansible_become: true with a user that may sudo",
        )


def _apt_proxy(proxy: Proxy) -> Resource:
    if not proxy.http and not proxy.https:
        return Absent(APT_PROXY, "no proxy is told")
    values: Mapping[str, object] = {
        "http": proxy.http,
        "https": proxy.https,
        "no_proxy": [name for name in proxy.no_proxy if name.strip("*.")],
    }
    text = render(TEMPLATES / "host_baseline" / "apt-proxy.j2", values)
    secret = "@" in f"{proxy.http}{proxy.https}"
    return File(APT_PROXY, Secret(text), 0o600) if secret else File(APT_PROXY, text)


def _hidden(proxy: str) -> str | Secret:
    """A proxy's address is a secret where it holds a password."""
    return Secret(proxy) if "@" in proxy else proxy
