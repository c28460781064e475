"""Who holds apt's locks is waited for and named: a real lock, on this machine's own lock file."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from fleet.resources import Packages
from tests.local_host import LocalHost

LOCK = Path("/var/lib/dpkg/lock-frontend")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.getuid() != 0 or not LOCK.exists(), reason="needs root on a system with apt"),
]


def test_another_apt_is_waited_for_and_named(tmp_path: Path) -> None:
    host = LocalHost(tmp_path)
    for name in ("apt-get", "apt-mark", "dpkg"):
        host.program(name, "")
    host.program("dpkg-query", "exit 1")
    with LOCK.open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        release = threading.Timer(1.0, fcntl.lockf, (lock, fcntl.LOCK_UN))
        release.start()
        reply = host.apply(Packages("apt", ("x",)))
        release.join()
    waited = [line for line in reply.stdout.splitlines() if "waiting for" in line]
    assert waited
    assert f"(process {os.getpid()}), which holds {LOCK}" in waited[0]
    assert host.calls[-1].endswith(" x"), "and then it went on"
