"""One host's power supply: runs systemd-nspawn, starts it again after a reboot, ends when told to or at power-off.

A program of its own (``python supervisor.py NAME PLACE NAMESPACE RELEASE``) that imports nothing of ours, so that it
outlives whoever raised the lab. SIGTERM powers the host off in order; SIGUSR1 is a power cut.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

#: How nspawn says that its host asked for a reboot (systemd's EXIT_FORCE_RESTART).
REBOOT: Final = 133
CGROUPS: Final = Path("/sys/fs/cgroup")


def main() -> None:
    """Keep the host up until it powers off or we are told."""
    name, place_, namespace, release = sys.argv[1:5]
    place = Path(place_)
    (place / "supervisor.pid").write_text(str(os.getpid()))
    own_cgroup(namespace)
    command = [
        "systemd-nspawn", f"--directory={place}/root", "--boot", "--register=no", "--keep-unit",
        f"--machine={namespace}", f"--hostname={name}", f"--network-namespace-path=/run/netns/{namespace}",
        "--capability=all", "--system-call-filter=@keyring bpf", f"--bind={place}/disk/docker:/var/lib/docker",
        "--resolv-conf=off", "--console=pipe", "--kill-signal=SIGRTMIN+3",
    ]  # fmt: skip
    environment = dict(os.environ)
    if release != "bookworm":  # systemd 257 refuses cgroup v1
        environment["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "1"
    ending = False
    machine: subprocess.Popen[bytes] | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        if machine is not None and number == signal.SIGTERM:
            machine.send_signal(signal.SIGTERM)  # nspawn asks the host's init to power off
        elif machine is not None:
            cut_power(machine.pid)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, stop)
    while not ending:
        started = time.monotonic()
        machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
        (place / "nspawn.pid").write_text(str(machine.pid))
        machine.wait()
        if ending or machine.returncode == 0:  # it powered itself off; whatever isn't a reboot is a host that died
            break
        if machine.returncode != REBOOT and time.monotonic() - started < 2:
            time.sleep(2)  # it can't even start: don't spin
    (place / "nspawn.pid").unlink(missing_ok=True)
    (place / "supervisor.pid").unlink(missing_ok=True)


def cut_power(nspawn: int) -> None:
    """Kill a host's init, and with it all that runs there, then nspawn: killed alone, that would leave them running."""
    with contextlib.suppress(OSError):
        for init in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
            os.kill(int(init), signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(nspawn, signal.SIGKILL)


def own_cgroup(name: str) -> None:
    """Go into a cgroup of our own in every hierarchy, or all hosts' systemds would work on one and the same."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind not in ("cgroup", "cgroup2") or not place.startswith("/sys/fs/cgroup"):
            continue
        own = Path(place, name)
        with contextlib.suppress(OSError):  # a hierarchy that doesn't let us is one that the host does without
            own.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # v1's cpuset is born empty, and takes nobody then
                if (own / setting).exists() and not (own / setting).read_text().strip():
                    (own / setting).write_text(Path(place, setting).read_text())
            (own / "cgroup.procs").write_text(str(os.getpid()))


def remove_cgroup(name: str) -> None:
    """Take it away again, with what the host made below; what still holds a process stays."""
    for place in (*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")):
        for path, _, _ in os.walk(place, topdown=False):  # which passes over what goes away meanwhile
            with contextlib.suppress(OSError):
                Path(path).rmdir()


if __name__ == "__main__":
    main()
