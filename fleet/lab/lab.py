"""The lab as a whole: up, down, and what tests do to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from fleet.errors import UsageError
from fleet.lab import hosts, image, machine, mirror, models, network, roots, services
from fleet.lab.machine import LabError
from fleet.lab.names import EVERY, HOSTS, HUB_PORT, INVENTORY, MIRROR_PORT, REMEMBERED, SERVICE, SHAPE, SHAPES, LabHost
from fleet.target import ROOT

Say = Callable[[str], None]
SERVES: Final = ("real", "stand-in")
VARIABLES: Final = ROOT / "inventory" / "group_vars" / "lab.json"
#: What the lab's tiny models are must never stand in a real fleet's lock files.
LOCKS: Final = (ROOT / INVENTORY).with_suffix(".lock")
_OWNER: Final = "owner"
_FILL: Final = "/var/tmp/fleet-lab-fill"


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
    if SHAPE not in SHAPES:
        raise UsageError(f"FLEET_LAB_SHAPE: there is no {SHAPE!r}", hint=f"there are: {', '.join(SHAPES)}")
    _ours()
    with _heard(say):
        if status()["up"]:
            say("the lab is up already")
            return status()
        lacking = machine.missing()
        if lacking:
            say(f"installing {', '.join(lacking)} by apt")
            machine.install_missing()
        down(lambda text: None)
        machine.allow_many()
        machine.work().mkdir(parents=True, exist_ok=True)
        (machine.work() / _OWNER).write_text(str(ROOT))
        REMEMBERED.write_text(SHAPE + "\n")
        say("root file systems (made once: about a minute for each release)")
        for release in sorted({host.release for host in HOSTS}):
            roots.root_of(release)
        say("package mirror (filled once, by this machine's own apt and pip)")
        home = machine.cache() / "gnupg"
        fingerprint = mirror.make_key(home)
        tree = mirror.fill(home)
        disks = {host.name: roots.ready_root_of(host.release, host.ready, tree / f"debian-{host.release}")
                 for host in HOSTS}  # fmt: skip
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
        for host in HOSTS:
            hosts.prepare(host, disks[host.name], key)
            hosts.start(host)
        hosts.write_known_hosts()
        _write_variables(fingerprint, kind, authority)
        with ThreadPoolExecutor(len(HOSTS)) as pool:
            list(pool.map(hosts.wait_up, HOSTS))
    return status()


def down(say: Say) -> None:
    """Take the whole lab away, its caches aside. Nothing is wrong where there is none, or half of one.

    Raises:
        LabError: it belongs to another checkout of this project.
    """
    _ours()
    say("ending the lab")
    for host in EVERY:  # also those of a shape that isn't this one
        hosts.destroy(host)
    for name in services.NAMES:
        services.stop(name)
    network.down()
    VARIABLES.unlink(missing_ok=True)
    shutil.rmtree(LOCKS, ignore_errors=True)
    for made_for_it in ("models", "tls"):
        shutil.rmtree(machine.work() / made_for_it, ignore_errors=True)
    for note in (machine.work() / _OWNER, REMEMBERED):
        note.unlink(missing_ok=True)


def _ours() -> None:
    """Refuse to touch another checkout's lab; one that is gone, or whose hosts are all off, has no claim."""
    file = machine.work() / _OWNER
    owner = Path(file.read_text()) if file.exists() else ROOT
    if owner != ROOT and owner.exists() and any(hosts.running(host) for host in EVERY):
        raise LabError(
            f"the lab in {machine.work()} belongs to {owner}", where="lab",
            hint="end it there (./inv lab.down), or have a second one: FLEET_LAB_SLOT=1 FLEET_LAB_DIR=/var/lib/lab-1",
        )  # fmt: skip


def status() -> dict[str, Any]:
    """``{up, shape, inventory, serves, hosts: {name: {…}}, services: {name: bool}}``."""
    running = {host.name: hosts.running(host) for host in HOSTS}
    named = {name: services.running(name) for name in services.NAMES}
    kind = json.loads(VARIABLES.read_text())["lab"]["serves"] if VARIABLES.exists() else ""
    return {
        "up": all(running.values()) and all(named.values()),
        "shape": SHAPE,
        "inventory": INVENTORY,
        "serves": kind,
        "hosts": {
            host.name: {
                "running": running[host.name], "address": host.address, "release": host.release,
                "gpus": f"{host.count}×{host.gpu}" if host.count else "none", "user": host.user,
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


def fill_disk(which: LabHost) -> None:
    """Leave not a byte free on the host's disk: for itself, for Docker, for all.

    Raises:
        LabError: the host has no disk of its own (the shape ``three``), or is down.
    """
    if not which.disk:
        raise LabError(f"{which.name} shares this machine's disk", where="lab", hint="FLEET_LAB_SHAPE=twelve")
    run(
        which,
        f"fallocate -l $(df --output=avail -B1 / | tail -1) {_FILL}.1 || :; dd if=/dev/zero of={_FILL}.2 bs=4k || :",
    )


def free_disk(which: LabHost) -> None:
    """Undo it."""
    run(which, f"rm -f {_FILL}.1 {_FILL}.2")


def _leader(host: LabHost) -> int:
    """The process on this machine that is the host's PID 1."""
    nspawn = int((host.place / "nspawn.pid").read_text())
    children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
    if not children:
        raise LabError(f"{host.name} is down", where="lab")
    return int(children[0])


def _write_variables(fingerprint: str, kind: str, authority: Path) -> None:
    """What differs from lab to lab, for inventory/lab.yml to refer to: group variables of the group ``lab``."""
    root = f"http://mirror.lab:{MIRROR_PORT}"
    keys = {
        "cuda": {"url": f"{root}/key.gpg", "fingerprint": fingerprint},
        "toolkit": {"url": f"{root}/toolkit/gpgkey", "fingerprint": fingerprint},
    }
    told = {
        "shape": SHAPE,
        "addresses": {host.name: host.address for host in HOSTS},
        "serves": kind,
        "image": image.reference(kind),
        "hub": f"http://{SERVICE}:{HUB_PORT}",
        "ca": str(authority),
        "mirrors": {
            "cuda": f"{root}/cuda", "toolkit": f"{root}/toolkit", "pip": f"{root}/pip/simple",
            "keys": keys, "registries": {},
        },
        "private_key": str(hosts.state() / "id_ed25519"),
        "known_hosts": str(hosts.state() / "known_hosts"),
    }  # fmt: skip
    VARIABLES.parent.mkdir(exist_ok=True)
    LOCKS.mkdir(exist_ok=True)  # what the lab's tiny models are must never stand in a real fleet's lock files
    temporary = VARIABLES.with_suffix(".new")
    temporary.write_text(json.dumps({"lab": told}, indent=2) + "\n")
    temporary.replace(VARIABLES)


@contextlib.contextmanager
def _heard(say: Say) -> Iterator[None]:
    """A word every four seconds for as long as the work inside lasts: nobody should wonder whether it still lives."""
    done = threading.Event()
    started = time.monotonic()

    def tick() -> None:
        while not done.wait(4):
            say(f"… {time.monotonic() - started:.0f} s")

    threading.Thread(target=tick, daemon=True).start()
    try:
        yield
    finally:
        done.set()
