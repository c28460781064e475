"""Root file systems: one a Debian release, made once with debootstrap and kept; each host works on an overlay of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from fleet.lab import machine
from fleet.lab.machine import key_of, run

#: What a bare GPU host has when its owner hands it over: no Docker, no driver, no curl, a stripped python3.
PACKAGES: Final = (
    "systemd,systemd-sysv,dbus,openssh-server,sudo,python3-minimal,iproute2,ca-certificates,gnupg,kmod,cron,procps"
)
_VERSION: Final = 3  # raise it when `_finish` changes


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
