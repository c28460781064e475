"""Root file systems: one a Debian release, made once with debootstrap and kept; each host works on an overlay of it.

Some hosts start with packages installed already: a copy of their release's root, filled from the lab's own mirror.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fleet.lab import machine
from fleet.lab.machine import key_of, run

#: What a bare GPU host has when its owner hands it over: no Docker, no driver, no curl, a stripped python3.
PACKAGES: Final = (
    "systemd,systemd-sysv,dbus,openssh-server,sudo,python3-minimal,iproute2,ca-certificates,gnupg,kmod,cron,procps"
)
_VERSION: Final = 3  # raise it when `_finish` changes
_READY: Final = 1  # raise it when `ready_root_of` changes


def root_of(release: str) -> Path:
    """The root file system of ``release``, made now where the cache doesn't have it (about a minute)."""
    uri = machine.apt_uri()
    place = machine.cache() / f"root-{release}-{key_of(release, PACKAGES, _VERSION)}"
    if (place / ".done").exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, place, uri])
    _finish(place)
    (place / ".done").touch()
    return place


def ready_root_of(release: str, packages: Sequence[str], mirror: Path) -> Path:
    """``release``'s root file system with ``packages`` in it, made now where the cache doesn't have it (a minute)."""
    bare = root_of(release)
    if not packages:
        return bare
    place = machine.cache() / f"root-{release}-{key_of(bare.name, tuple(packages), mirror.parent.name, _READY)}"
    if (place / ".done").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    run(["cp", "--archive", "--reflink=auto", bare, place])
    (place / ".done").unlink()
    # Nothing is started (policy-rc.d), all is enabled: at the host's first boot it runs as after any installation.
    script = (
        "set -e; printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d\n"
        "echo 'deb [trusted=yes] file:/mnt ./' > /etc/apt/sources.list; apt-get update -q\n"
        f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends {shlex.join(packages)}\n"
        "rm -f /usr/sbin/policy-rc.d; apt-get clean"
    )
    run(["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--resolv-conf=off", f"--directory={place}",
         f"--bind-ro={mirror}:/mnt", "/bin/sh", "-c", script])  # fmt: skip
    _finish(place)
    (place / ".done").touch()
    return place


def _finish(root: Path) -> None:
    """What every host of the lab has in common."""
    for unit in ("systemd-networkd-wait-online.service", "systemd-networkd.service", "systemd-resolved.service",
                 "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_reap.service"):  # fmt: skip
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for old in (root / "etc/ssh").glob("ssh_host_*"):
        old.unlink()  # each host gets keys of its own
    (root / "etc/machine-id").write_text("")
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    for lists in (root / "var/lib/apt/lists").glob("*"):
        if lists.is_file():
            lists.unlink()
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text("# the lab has no DNS: /etc/hosts names what there is\n")
