"""Real hosts: systemd-nspawn on an overlay, each with its own network namespace, kept up by a small supervisor."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from fleet.lab import machine, network, simulated
from fleet.lab.machine import LabError, run
from fleet.lab.names import HOSTS, OPS_PASSWORD, SERVICE, LabHost
from fleet.lab.supervisor import cut_power, remove_cgroup
from fleet.target import ROOT

_CGROUPS: Final = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")


def state() -> Path:
    """What the inventory and a person need of the lab: keys and known hosts, in the project's ``.fleet/lab``."""
    path = ROOT / ".fleet" / "lab"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def make_keys() -> None:
    """A key pair to log in with, made once."""
    key = state() / "id_ed25519"
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", key])


def prepare(host: LabHost, root: Path, mirror_key: bytes) -> None:
    """Lay out the host's disk: an overlay over ``root``, and what makes this host this host."""
    destroy(host)
    disk = host.place / "disk"
    disk.mkdir(parents=True)
    if host.disk:
        _own_disk(disk, host.disk)
    for part in (disk / "upper", disk / "work", disk / "docker", host.root):
        part.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "overlay", f"fleetlab-{host.name}", "-o",
         f"lowerdir={root},upperdir={disk / 'upper'},workdir={disk / 'work'}", host.root])  # fmt: skip
    etc = host.root / "etc"
    (etc / "hostname").write_text(f"{host.name}\n")
    lines = [f"{SERVICE} registry.lab mirror.lab hub.lab", *(f"{h.address} {h.name}" for h in HOSTS)]
    (etc / "hosts").write_text("127.0.0.1 localhost\n" + "\n".join(lines) + "\n")
    sources = f"deb [signed-by=/usr/share/keyrings/lab.gpg] http://mirror.lab:8081/debian-{host.release} ./\n"
    (etc / "apt/sources.list").write_text(sources)
    (host.root / "usr/share/keyrings/lab.gpg").write_bytes(mirror_key)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", etc / "ssh/ssh_host_ed25519_key"])
    public = (state() / "id_ed25519.pub").read_text()
    _authorize(host.root / "root", public, 0)
    if host.user != "root":
        run(["chroot", host.root, "useradd", "--create-home", "--shell", "/bin/bash", "--groups", "sudo", host.user])
        run(["chroot", host.root, "chpasswd"], stdin=f"{host.user}:{OPS_PASSWORD}\n".encode())
        owner = (host.root / "home" / host.user).stat().st_uid
        _authorize(host.root / "home" / host.user, public, owner)
    simulated.furnish(host)
    _writable_cgroups(host)


def _own_disk(place: Path, gib: int) -> None:
    """A file system of that size in a sparse file: it can be full while this machine's own isn't."""
    image = place.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(gib << 30)
    # No journal: a host that loses its power here loses its processes, never what this machine's kernel has written.
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", image])
    run(["mount", "-o", "loop,noatime", image, place])


def start(host: LabHost) -> None:
    """Switch the host on: its supervisor lives on after this program and starts it anew after a reboot."""
    program = str(Path(__file__).with_name("supervisor.py"))
    words = [sys.executable, program, host.name, str(host.place), host.namespace, host.release]
    machine.start(words, host.place / "console.log")


def power_off(host: LabHost, *, orderly: bool = True) -> None:
    """Switch the host off; ``orderly=False`` is as if its power had failed."""
    supervisor = _pid(host, "supervisor.pid")
    if supervisor:
        os.kill(supervisor, signal.SIGTERM if orderly else signal.SIGUSR1)
        for _ in range(300):
            if not _alive(supervisor):
                break
            time.sleep(0.1)
        else:
            os.kill(supervisor, signal.SIGKILL)
    left = _pid(host, "supervisor.pid")
    if left:
        os.kill(left, signal.SIGKILL)
    left = _pid(host, "nspawn.pid")  # a supervisor that was itself killed leaves its host running
    if left:
        cut_power(left)
    for name in ("supervisor.pid", "nspawn.pid"):
        (host.place / name).unlink(missing_ok=True)


def destroy(host: LabHost) -> None:
    """Switch the host off and take its disk away, whatever state an earlier lab left it in."""
    power_off(host, orderly=False)
    network.end_processes(host.namespace)  # an init whose nspawn was killed, and all that it runs
    remove_cgroup(host.namespace)
    for _ in range(20):
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        ours = sorted((m for m in mounts if m.startswith(str(host.place))), key=len, reverse=True)
        if not ours:
            break
        for mount in ours:
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
    shutil.rmtree(host.place, ignore_errors=True)
    if host.place.exists():
        raise LabError(f"{host.place} can't be removed", where="lab.down", hint="is something still mounted there?")


def running(host: LabHost) -> bool:
    """Whether its supervisor is at work."""
    return bool(_pid(host, "supervisor.pid"))


def write_known_hosts() -> None:
    """The hosts' keys as they were made, so that none has to be taken on faith."""
    lines = []
    for host in HOSTS:
        words = (host.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        lines.append(f"{host.address} {words[0]} {words[1]}")
    (state() / "known_hosts").write_text("\n".join(lines) + "\n")


def wait_up(host: LabHost, seconds: float = 120) -> None:
    """Wait until sshd answers.

    Raises:
        LabError: it never did; the end of its console is in the message.
    """
    import socket

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((host.address, 22), 1) as line:
            line.settimeout(2)
            if line.recv(4) == b"SSH-":
                return
        time.sleep(0.3)
    console = (host.place / "console.log").read_text(errors="replace").splitlines()[-8:]
    raise LabError(f"{host.name} didn't come up in {seconds:.0f} s:\n  " + "\n  ".join(console), where="lab.up")


def _pid(host: LabHost, name: str) -> int:
    """The process that a pid file names, if it is still that one (0 otherwise)."""
    try:
        pid = int((host.place / name).read_text())
        return pid if str(host.place).encode() in Path(f"/proc/{pid}/cmdline").read_bytes() else 0
    except (OSError, ValueError):
        return 0


def _alive(pid: int) -> bool:
    return (
        Path(f"/proc/{pid}").exists()
        and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    )


def _authorize(home: Path, public: str, owner: int) -> None:
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "authorized_keys").write_text(public)
    (ssh / "authorized_keys").chmod(0o600)
    for path in (ssh, ssh / "authorized_keys"):
        os.chown(path, owner, owner)


def _writable_cgroups(host: LabHost) -> None:
    """Where this machine still has cgroup v1, nspawn mounts it read-only, and Docker 20.10 can't start containers."""
    if not Path("/sys/fs/cgroup/cpuset").is_dir() or host.release != "bookworm":
        return
    script = " ; ".join(f"mount -o remount,bind,rw /sys/fs/cgroup/{name}" for name in _CGROUPS)
    unit = host.root / "etc/systemd/system/lab-cgroups.service"
    unit.write_text(
        "[Unit]\nDescription=Let Docker make its cgroups (lab)\nDefaultDependencies=no\nBefore=sysinit.target\n"
        f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=-/bin/sh -c '{script} ; true'\n"
    )
    wanted = host.root / "etc/systemd/system/sysinit.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")
