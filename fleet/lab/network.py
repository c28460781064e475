"""A switch and its cables: one namespace with a bridge, one a host and one for the services, joined by veth pairs."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence

from fleet.lab.machine import LabError, run
from fleet.lab.names import (
    CONTROL,
    CONTROL_LINK,
    HOSTS,
    OPERATOR,
    OPERATOR_ADDRESS,
    OPERATOR_CABLE,
    SERVICE,
    SERVICES,
    SWITCH,
    LabHost,
)


def up() -> None:
    """Lay everything; what an earlier lab left behind is taken away first."""
    down()
    run(["ip", "netns", "add", SWITCH])
    _ip(SWITCH, "link add br0 type bridge")
    _ip(SWITCH, "link set br0 up")
    run(["ip", "link", "add", CONTROL_LINK, "type", "veth", "peer", "name", "control", "netns", SWITCH])
    run(["ip", "address", "add", f"{CONTROL}/24", "dev", CONTROL_LINK])
    run(["ip", "link", "set", CONTROL_LINK, "up"])
    _plug("control")
    _member(SERVICES, "services", SERVICE)
    _member(OPERATOR, OPERATOR_CABLE, OPERATOR_ADDRESS)
    for host in HOSTS:
        _member(host.namespace, host.name, host.address)


def down() -> None:
    """Take every cable and namespace of the lab away; nothing is wrong where there is none."""
    with contextlib.suppress(LabError):
        run(["ip", "link", "delete", CONTROL_LINK])
    for name in sorted(_existing()):
        if name == SWITCH or name.startswith(f"{SWITCH}-"):  # whatever shape it had
            end_processes(name)
            run(["ip", "netns", "delete", name])


def processes(namespace: str) -> list[int]:
    """What runs in a namespace, as this machine numbers it."""
    if namespace not in _existing():
        return []
    return [int(pid) for pid in run(["ip", "netns", "pids", namespace]).split()]


def end_processes(namespace: str, seconds: float = 10) -> None:
    """Kill what runs in a namespace of the lab, all of which is the lab's, and wait until it is gone."""
    until = time.monotonic() + seconds
    while (left := processes(namespace)) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def cut(host: LabHost | None) -> None:
    """Pull the host's cable at the switch; None is the operator's place."""
    _ip(SWITCH, f"link set {_cable(host)} down")


def restore(host: LabHost | None) -> None:
    """Plug it in again."""
    _ip(SWITCH, f"link set {_cable(host)} up")


def as_operator(words: Sequence[str]) -> list[str]:
    """A command line that is run in the operator's place."""
    return ["ip", "netns", "exec", OPERATOR, *words]


def slow(host: LabHost, megabits: int | None) -> None:
    """Let at most ``megabits`` a second through to the host; None for as much as there is."""
    with contextlib.suppress(LabError):
        run(["ip", "netns", "exec", SWITCH, "tc", "qdisc", "delete", "dev", host.name, "root"])
    if megabits:
        rate = ["tbf", "rate", f"{megabits}mbit", "burst", "128kb", "latency", "200ms"]
        run(["ip", "netns", "exec", SWITCH, "tc", "qdisc", "add", "dev", host.name, "root", *rate])


def _member(namespace: str, name: str, address: str) -> None:
    run(["ip", "netns", "add", namespace])
    run(["ip", "link", "add", name, "netns", SWITCH, "type", "veth", "peer", "name", "host0", "netns", namespace])
    _plug(name)
    _ip(namespace, "link set lo up")
    _ip(namespace, f"address add {address}/24 dev host0")
    _ip(namespace, "link set host0 up")
    _ip(namespace, f"route add default via {CONTROL}")


def _cable(host: LabHost | None) -> str:
    return host.name if host else OPERATOR_CABLE


def _existing() -> set[str]:
    return {line.split()[0] for line in run(["ip", "netns", "list"]).splitlines() if line}


def _plug(name: str) -> None:
    _ip(SWITCH, f"link set {name} master br0")
    _ip(SWITCH, f"link set {name} up")


def _ip(namespace: str, words: str) -> None:
    run(["ip", "-n", namespace, *words.split()])
