"""The gateway: HAProxy before the instances of all hosts, with a tool of its own that keeps who is drained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fleet.gateway.config import Spec
from fleet.resource import Problem, Resource
from fleet.resources import Directory, File, Packages, Service
from fleet.resources.gateway import ROOT, SERVERS, TOOL, UNIT, GatewayConfig, GatewayRunning
from fleet.resources.gateway_gone import SWEEP, TIMER, GatewayGone
from fleet.resources.masked import Masked
from fleet.target import TEMPLATES, Target

FILES: Final = TEMPLATES / "gateway"
UNITS: Final = {UNIT: "unit", SWEEP: "sweep-service", TIMER: "sweep-timer"}


def resources(target: Target) -> Iterator[Resource]:
    """HAProxy of the distribution under a unit of ours, what it serves, and what keeps drains when all else ends."""
    if not target.gateway:
        if UNIT in target.facts.units:
            yield GatewayGone()
        return
    if not target.facts.family:
        return  # host_baseline says so
    yield Masked("haproxy.service")
    yield Packages("apt" if target.facts.family == "debian" else "dnf", ("haproxy", "socat"))
    yield File(TOOL, (FILES / "gateway").read_text(encoding="utf-8"), 0o755)
    for unit, name in UNITS.items():
        yield File(f"/etc/systemd/system/{unit}", (FILES / name).read_text(encoding="utf-8"))
    yield Directory(ROOT, 0o700)
    yield Directory(SERVERS, 0o700)
    yield GatewayConfig(Spec.of(target.settings, target.peers))
    yield Service(UNIT)
    yield GatewayRunning()
    yield Service(TIMER)


def problems(target: Target) -> Iterator[Problem]:
    """A HAProxy that is too old, an address that isn't here, ports that others hold, nothing to stand before."""
    if not target.gateway:
        return
    facts, spec = target.facts, Spec.of(target.settings, target.peers)
    if facts.release == "rhel-8":
        yield Problem(
            "HAProxy 1.8, which this system has, can't do what a gateway must; 2.4 is the oldest that can",
            "make another host the gateway (Debian 12, Ubuntu 22.04, RHEL 9 or newer)",
        )
    if facts.haproxy_confined:
        yield Problem(
            "SELinux keeps HAProxy from the ports that it is to have and to reach",
            "if that may be so on a gateway: setsebool -P haproxy_connect_any on",
        )
    own = {address.partition("/")[0] for _, address in facts.addresses} | {"127.0.0.1", "::1", "0.0.0.0", "::"}  # noqa: S104 — compared with, not bound to
    if facts.addresses and spec.listen not in own:
        yield Problem(
            f"the gateway is to listen on {spec.listen}, which this host doesn't have",
            "set gateway.listen to one of its own; it has "
            + ", ".join(sorted(a.partition("/")[0] for _, a in facts.addresses)),
        )
    if not spec.servers:
        yield Problem("no host of the inventory serves a model for this gateway", "give hosts `instances`", "warning")
    if facts.units.get(UNIT) == "active":
        return
    wanted = {model.port for model in spec.models} | {spec.stats_port}
    for listener in facts.listeners:
        if listener.port in wanted and listener.address.partition("%")[0] in (spec.listen, "*", "0.0.0.0", "::", ""):  # noqa: S104 — compared
            yield Problem(
                f"port {listener.port}, which the gateway is to have, is held {listener.process}".rstrip(),
                "end what holds it, or set another under `gateway`",
            )
