"""This machine: can it hold a lab, what does it lack, where does the lab lie on it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fleet.errors import FleetError, UsageError
from fleet.target import ROOT

MEMORY_GIB: Final = 8
DISK_GIB: Final = 15
#: Fourteen hosts with Docker take some 200; Debian's default is 128.
INOTIFY_INSTANCES: Final = 4096
_INOTIFY: Final = Path("/proc/sys/fs/inotify/max_user_instances")
#: Programs that the lab runs here, and the Debian packages that they come in.
PROGRAMS: Final = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "docker-registry": "docker-registry",
    "dpkg-scanpackages": "dpkg-dev",
    "apt-ftparchive": "apt-utils",
    "gpg": "gnupg",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
}


class LabError(FleetError):
    """The lab couldn't be raised, or isn't there."""


def why_not() -> str:
    """Why this machine can't hold a lab, in words; empty where it can."""
    if os.geteuid() != 0:
        return "the lab needs root (real hosts have their own systemd, network and Docker)"
    if not shutil.which("apt-get"):
        return "the lab needs Debian or Ubuntu (its hosts are made with debootstrap and apt)"
    memory = _memory_gib()
    if memory < MEMORY_GIB:
        return f"the lab needs {MEMORY_GIB} GiB of memory, here are {memory:.0f}"
    free = shutil.disk_usage(_existing(work())).free / 2**30
    if free < DISK_GIB:
        return f"the lab needs {DISK_GIB} GiB of free disk at {work()}, there are {free:.0f} (FLEET_LAB_DIR moves it)"
    return ""


def require() -> None:
    """Raise where the machine can't hold a lab.

    Raises:
        UsageError: why, and what to do instead.
    """
    reason = why_not()
    if reason:
        raise UsageError(
            reason,
            where="lab",
            hint="on another machine, or give an inventory of your own: ./inv plan --inventory FILE",
        )


def missing() -> list[str]:
    """Debian packages that the lab needs and that aren't here."""
    return sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})


def install_missing() -> None:
    """Install what is missing by apt; docker-registry's own service isn't started."""
    packages = missing()
    if not packages:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:  # packages that bring a service must not start it here
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        run(["apt-get", "update", "-q"])
        run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages])
    finally:
        if ours:
            policy.unlink()


def allow_many() -> None:
    """Let this machine have as many inotify instances as its hosts want: to the kernel all are one user's.

    Out of them dockerd panics (its CDI watcher) and systemd's path units fail. Only ever raised; it goes with a reboot.
    """
    if int(_INOTIFY.read_text()) < INOTIFY_INSTANCES:
        _INOTIFY.write_text(f"{INOTIFY_INSTANCES}\n")


def cache() -> Path:
    """What is worth keeping between labs: root file systems, packages, the image. Keyed by what it is made from."""
    base = os.environ.get("FLEET_LAB_CACHE") or f"{os.environ.get('XDG_CACHE_HOME') or '/var/cache'}/vllm-fleet-lab"
    return Path(base)


def work() -> Path:
    """Where the running lab lies: its hosts' disks, keys, logs."""
    return Path(os.environ.get("FLEET_LAB_DIR") or "/var/lib/vllm-fleet-lab")


def key_of(*parts: object) -> str:
    """A short name for what is made from ``parts``: 16 hexadecimal digits."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def run(
    words: Sequence[str | Path], *, stdin: bytes | None = None, cwd: Path | None = None, timeout: float = 1800
) -> str:
    """Run a program here; its standard output.

    Raises:
        LabError: it failed; its last lines are in the message.
    """
    line = [str(word) for word in words]
    try:
        done = subprocess.run(
            line, input=stdin, capture_output=True, cwd=cwd, timeout=timeout, check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{line[0]}: {error}", where="lab") from error
    if done.returncode:
        tail = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-8:]
        raise LabError(f"{' '.join(line[:6])} ended with {done.returncode}:\n  " + "\n  ".join(tail), where="lab")
    return done.stdout.decode(errors="replace")


def start(words: Sequence[str], log: Path) -> int:
    """Start a program that outlives this one, its output in ``log``; its pid."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    process.returncode = 0  # nobody here waits for it
    return process.pid


def apt_uri() -> str:
    """The archive that this machine's own apt uses for Debian, from its configuration.

    Raises:
        LabError: there is none (Ubuntu's own archive has no bookworm).
    """
    for line in run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(ORIGIN) $(LABEL)"]).splitlines():
        words = line.split()
        if len(words) >= 3 and words[2] == "Debian" and "security" not in words[0] + words[1]:
            return words[0]
    raise LabError("apt here has no Debian archive", where="lab", hint="add a Debian source (bookworm, main) to apt")


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
