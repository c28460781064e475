"""One host's power supply: runs systemd-nspawn, starts it again after a reboot, ends when told to or at power-off.

A program of its own (``python supervisor.py NAME PLACE NAMESPACE RELEASE``) that imports nothing of ours, so that it
outlives whoever raised the lab. SIGTERM powers the host off in order; SIGUSR1 is a power cut.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType


def main() -> None:
    """Keep the host up until it powers off or we are told."""
    name, place_, namespace, release = sys.argv[1:5]
    place = Path(place_)
    (place / "supervisor.pid").write_text(str(os.getpid()))
    command = [
        "systemd-nspawn", f"--directory={place}/root", "--boot", "--register=no", "--keep-unit", f"--machine={name}",
        f"--network-namespace-path=/run/netns/{namespace}", "--capability=all", "--system-call-filter=@keyring bpf",
        f"--bind={place}/docker:/var/lib/docker", "--resolv-conf=off", "--console=pipe", "--kill-signal=SIGRTMIN+3",
    ]  # fmt: skip
    environment = dict(os.environ)
    if release != "bookworm":  # systemd 257 refuses cgroup v1
        environment["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "1"
    ending = False
    child: subprocess.Popen[bytes] | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        if child is not None:
            child.send_signal(signal.SIGTERM if number == signal.SIGTERM else signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, stop)
    while not ending:
        started = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
        (place / "nspawn.pid").write_text(str(child.pid))
        child.wait()
        if ending or child.returncode == 0:  # 0: it powered off; 133: it rebooted; else: it died, as a host that hangs
            break
        if time.monotonic() - started < 2:
            time.sleep(2)  # it can't even start: don't spin
    (place / "nspawn.pid").unlink(missing_ok=True)
    (place / "supervisor.pid").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
