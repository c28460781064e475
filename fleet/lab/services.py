"""The real services around the hosts: image registry with TLS, package mirror, hub. Each a process in one namespace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from fleet.lab import machine, models
from fleet.lab.machine import LabError, run
from fleet.lab.names import HUB_PORT, MIRROR_PORT, REGISTRY_PORT, SERVICE, SERVICES

NAMES: Final = ("registry", "mirror", "hub")
_PORTS: Final = {"registry": REGISTRY_PORT, "mirror": MIRROR_PORT, "hub": HUB_PORT}


def make_authority() -> Path:
    """The lab's CA and the registry's certificate, made once a lab; the CA's PEM file."""
    place = machine.work() / "tls"
    if not (place / "ca.pem").exists():
        place.mkdir(parents=True, exist_ok=True)
        key: list[str | Path] = ["-newkey", "rsa:2048", "-nodes", "-days", "30"]
        mine: list[str | Path] = ["-keyout", place / "ca.key", "-out", place / "ca.new"]
        run(["openssl", "req", "-x509", *key, "-subj", "/CN=lab CA", *mine,
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"])  # fmt: skip
        run(
            [
                "openssl",
                "req",
                *key,
                "-subj",
                "/CN=registry.lab",
                "-keyout",
                place / "registry.key",
                "-out",
                place / "r.csr",
            ]
        )
        (place / "ext").write_text(f"subjectAltName=DNS:registry.lab,IP:{SERVICE}\nbasicConstraints=CA:FALSE\n")
        run(["openssl", "x509", "-req", "-in", place / "r.csr", "-CA", place / "ca.new", "-CAkey", place / "ca.key",
             "-CAcreateserial", "-days", "30", "-extfile", place / "ext", "-out", place / "registry.pem"])  # fmt: skip
        (place / "ca.new").rename(place / "ca.pem")
    return place / "ca.pem"


def start(name: str, *, mirror: Path | None = None) -> None:
    """Start one service and wait until it listens.

    Raises:
        LabError: it didn't come up.
    """
    stop(name)
    place = machine.work() / "services"
    place.mkdir(parents=True, exist_ok=True)
    python = [sys.executable, "-m"]
    if name == "registry":
        words = ["docker-registry", "serve", str(_registry_config(place))]
    elif name == "mirror":
        words = [*python, "fleet.lab.files", str(_kept(place, mirror)), SERVICE, str(MIRROR_PORT)]
    else:
        words = [*python, "fleet.lab.hub", str(models.place()), SERVICE, str(HUB_PORT)]
    pid = machine.start(["ip", "netns", "exec", SERVICES, *words], place / f"{name}.log")
    _pid_file(name).write_text(f"{pid} {words[0]}")
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection((SERVICE, _PORTS[name]), 0.5):
            return
        time.sleep(0.1)
    tail = (place / f"{name}.log").read_text(errors="replace").splitlines()[-5:]
    raise LabError(f"the lab's {name} didn't come up:\n  " + "\n  ".join(tail), where="lab.up")


def stop(name: str) -> None:
    """End one service, if the process that we started is still that one."""
    with contextlib.suppress(OSError):
        if pid := _process(name):
            os.killpg(pid, signal.SIGTERM)
            for _ in range(50):
                if not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                    break
                time.sleep(0.1)
            else:
                os.killpg(pid, signal.SIGKILL)
    _pid_file(name).unlink(missing_ok=True)


def running(name: str) -> bool:
    """Whether the service's own process is there and listens.

    A connection alone would say little: without the lab's network its addresses are the world's, and something out
    there may take connections to any of them.
    """
    if not _process(name):
        return False
    with contextlib.suppress(OSError), socket.create_connection((SERVICE, _PORTS[name]), 0.5):
        return True
    return False


def fault(faults: dict[str, Any]) -> None:
    """Set the hub's faults (an empty dictionary: none)."""
    body = json.dumps(faults).encode()
    request = urllib.request.Request(f"http://{SERVICE}:{HUB_PORT}/_fault", body, method="POST")
    urllib.request.urlopen(request, timeout=10).close()


def hub_log() -> list[dict[str, str]]:
    """What the hub was asked since the faults were last set."""
    with urllib.request.urlopen(f"http://{SERVICE}:{HUB_PORT}/_log", timeout=10) as answer:
        log: list[dict[str, str]] = json.load(answer)["log"]
        return log


def _pid_file(name: str) -> Path:
    return machine.work() / "services" / f"{name}.pid"


def _process(name: str) -> int:
    """The process that we started, if it still is that one; else 0."""
    with contextlib.suppress(OSError, ValueError):
        pid, _, program = _pid_file(name).read_text().partition(" ")
        if program.encode() in Path(f"/proc/{int(pid)}/cmdline").read_bytes():
            return int(pid)
    return 0


def _registry_config(place: Path) -> Path:
    tls = machine.work() / "tls"
    file = place / "registry.yml"
    file.write_text(
        f"""version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {machine.cache()}/registry}}, delete: {{enabled: true}}}}
http:
  addr: {SERVICE}:{REGISTRY_PORT}
  tls: {{certificate: {tls}/registry.pem, key: {tls}/registry.key}}
"""
    )
    return file


def _kept(place: Path, mirror: Path | None) -> Path:
    """The mirror's tree, remembered so that the service can be started again by its name alone."""
    link = place / "mirror-tree"
    if mirror is not None:
        link.unlink(missing_ok=True)
        link.symlink_to(mirror)
    return link
