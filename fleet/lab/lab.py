"""The lab as a whole: up, down, and what tests do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from fleet.lab import hosts, image, machine, mirror, models, network, roots, services
from fleet.lab.machine import LabError
from fleet.lab.names import HOSTS, HUB_PORT, MIRROR_PORT, REGISTRY, REGISTRY_PORT, SERVICE, LabHost

Say = Callable[[str], None]
SERVES: Final = ("real", "stand-in")


def serves() -> str:
    """What will serve in the lab: ``real`` (vLLM for CPU) where its packages can be found here, else ``stand-in``."""
    told = os.environ.get("FLEET_LAB_SERVES", "")
    if told in SERVES:
        return told
    return "real" if image.real_is_possible() else "stand-in"


def up(say: Say) -> dict[str, Any]:
    """Raise the lab; what is up already stays. Returns what :func:`status` says.

    Raises:
        UsageError: this machine can't hold it.
        LabError: a piece didn't come up.
    """
    machine.require()
    with _beat(say):
        if status()["up"]:
            say("the lab is up already")
            return status()
        lacking = machine.missing()
        if lacking:
            say(f"installing {', '.join(lacking)} by apt")
            machine.install_missing()
        down(lambda text: None)
        say("root file systems (made once: about a minute for each release)")
        releases = {host.release: roots.root_of(host.release) for host in HOSTS}
        say("package mirror (filled once, by this machine's own apt and pip)")
        home = machine.cache() / "gnupg"
        fingerprint = mirror.make_key(home)
        tree = mirror.fill(home)
        kind = serves()
        say("the model that is served (a tiny Qwen2.5-VL, made once)")
        authority = services.make_authority()
        say("network")
        network.up()
        services.start("registry")
        services.start("mirror", mirror=tree)
        say(f"image with {'the real vLLM for CPU' if kind == 'real' else 'the stand-in'} (built once)")
        image.publish(kind, say)
        models.make(kind, say)
        services.start("hub")
        say("hosts")
        hosts.make_keys()
        key = mirror.public_key(home)
        ca = authority.read_text()
        for host in HOSTS:
            hosts.prepare(host, releases[host.release], ca, key)
            hosts.start(host)
        hosts.write_known_hosts()
        _write_variables(fingerprint, kind, authority)
        with ThreadPoolExecutor(len(HOSTS)) as pool:
            list(pool.map(hosts.wait_up, HOSTS))
    return status()


def down(say: Say) -> None:
    """Take the whole lab away, its caches aside. Nothing is wrong where there is none, or half of one."""
    say("ending the lab")
    for host in HOSTS:
        hosts.destroy(host)
    for name in services.NAMES:
        services.stop(name)
    network.down()


def status() -> dict[str, Any]:
    """``{up, serves, hosts: {name: {…}}, services: {name: bool}}``."""
    running = {host.name: hosts.running(host) for host in HOSTS}
    named = {name: services.running(name) for name in services.NAMES}
    told = hosts.state() / "lab.json"
    kind = json.loads(told.read_text())["serves"] if told.exists() else ""
    return {
        "up": all(running.values()) and all(named.values()),
        "serves": kind,
        "hosts": {
            host.name: {
                "running": running[host.name], "address": host.address, "release": host.release,
                "gpus": f"{host.count}×{host.gpu}", "user": host.user,
            }
            for host in HOSTS
        },
        "services": named,
    }  # fmt: skip


def run(host: LabHost, script: str, *, timeout: float = 120) -> str:
    """Run ``script`` on a host as root, past SSH and the engine: what a test does behind their backs.

    Raises:
        LabError: it failed, or the host is down.
    """
    pid = _leader(host)
    words = [
        "nsenter",
        "--target",
        str(pid),
        "--mount",
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--",
        "/bin/sh",
        "-c",
        script,
    ]
    return machine.run(words, timeout=timeout)


def host(name: str) -> LabHost:
    """A host by its name."""
    return next(host for host in HOSTS if host.name == name)


def kill(which: LabHost) -> None:
    """A power cut: the host is gone at once, and comes back as after one."""
    pid = _leader(which)
    os.kill(pid, signal.SIGKILL)


def _leader(host: LabHost) -> int:
    """The process on this machine that is the host's PID 1."""
    nspawn = int((host.place / "nspawn.pid").read_text())
    children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
    if not children:
        raise LabError(f"{host.name} is down", where="lab")
    return int(children[0])


def _write_variables(fingerprint: str, kind: str, authority: Path) -> None:
    """What inventory/lab.yml refers to: fresh keys and what serves, as group variables of the lab."""
    mirror_root = f"http://mirror.lab:{MIRROR_PORT}"
    told = {
        "serves": kind,
        "address": SERVICE,
        "registry": REGISTRY,
        "image": image.reference(kind),
        "hub": f"http://hub.lab:{HUB_PORT}",
        "ports": {"registry": REGISTRY_PORT, "mirror": MIRROR_PORT, "hub": HUB_PORT},
        "ca": str(authority),
        "mirrors": {
            "cuda": f"{mirror_root}/cuda",
            "toolkit": f"{mirror_root}/toolkit",
            "pip": f"{mirror_root}/pip/simple",
            "fingerprint": fingerprint,
        },
        "private_key": str(hosts.state() / "id_ed25519"),
        "known_hosts": str(hosts.state() / "known_hosts"),
    }
    file = hosts.state() / "lab.json"
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(told, indent=2) + "\n")
    temporary.replace(file)


class _beat:  # noqa: N801 — reads as a word: with _beat(say)
    """Says that it is still at work when nothing was said for four seconds."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def __enter__(self) -> None:
        code = "import time\nn=0\nwhile True:\n time.sleep(4); n+=4; print(f'lab  … {n} s', flush=True)"
        import sys

        self._child = subprocess.Popen([sys.executable, "-c", code], stdout=sys.stderr)

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        time.sleep(0)
