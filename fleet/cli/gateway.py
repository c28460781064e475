"""``./inv gateway``, ``gateway.drain``, ``gateway.ready``: who gets requests, at every gateway."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from fleet import durations, report
from fleet.cli.program import CHANGING, CONNECTING, confirm, each_as_json, end_badly_if, verb
from fleet.cli.rolling import drain_seconds
from fleet.cli.session import Options, Session, open_session
from fleet.errors import FleetError, UsageError
from fleet.gateway.balancer import Balancer, ServerState, server_name, split_way
from fleet.gateway.balancers import balancers


@verb(common=CONNECTING)
def show(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
) -> None:
    """Show every server at every gateway: up or down, drained until when and by whom, requests under way.

    Example: ./inv gateway
    """
    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, (), doing="gateway", look_up=False) as session:
        seen = _each(session, lambda balancer: balancer.states())
    if json:
        report.result_json(each_as_json(seen, lambda found: {server: _json(state) for server, state in found.items()}))
    else:
        rows = [_row(name, state) for name, found in seen.items() for state in _states(found)]
        report.table(
            ["gateway", "server", "health", "admin", "requests", "until", "who", "model", "key", "address"], rows
        )
    end_badly_if(seen)


@verb(
    common=CHANGING,
    help={
        "servers": "HOST, or HOST:INSTANCE; several with commas",
        "for": "How long at most: 10m, 2h, 90s (default: gateway.drain_seconds)",
        "why": "Why, for those who look",
    },
)
def drain(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    yes: bool = False,
    servers: str = "",
    for_: str = "",
    why: str = "",
) -> None:
    """Send no new requests to servers; those under way go on. They are put back by themselves after a while.

    Example: ./inv gateway.drain --servers h1 --for 10m --why 'swapping a fan'
    """
    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, (), doing="gateway.drain", look_up=False) as session:
        names = _named(session, servers)
        seconds = _seconds(for_) if for_ else int(drain_seconds(session))
        confirm(f"Drain {', '.join(names)} for {seconds} s?", yes=yes)
        who = f"{session.owner.who}{f': {why}' if why else ''}"
        seen = _each(session, lambda balancer: balancer.drain(_own(balancer, names), seconds=seconds, who=who))
    _say(seen, f"drained for {seconds} s: {', '.join(names)}", json=json)


@verb(common=CHANGING, help={"servers": "HOST, or HOST:INSTANCE; several with commas"})
def ready(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    yes: bool = False,
    servers: str = "",
) -> None:
    """Send requests to servers again; where the gateway knows how, few at first.

    Example: ./inv gateway.ready --servers h1
    """
    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, (), doing="gateway.ready", look_up=False) as session:
        names = _named(session, servers)
        confirm(f"Send requests to {', '.join(names)} again?", yes=yes)
        seen = _each(session, lambda balancer: balancer.ready(dict.fromkeys(_own(balancer, names), "")))
    _say(seen, f"ready: {', '.join(names)}", json=json)


def _each(session: Session, work: Callable[[Balancer], Any]) -> dict[str, Any]:
    """``work`` at every gateway; one that fails is its result, the others go on."""
    peers = {**session.settings, **session.peers}
    seen: dict[str, Any] = session.crew.each(
        session.gateways, lambda name, transport: work(balancers([name], {}, lambda _: transport)[0])
    )
    for balancer in balancers((), peers, session.crew.transport):
        try:
            seen[balancer.name] = work(balancer)
        except FleetError as error:
            seen[balancer.name] = error
    if not seen:
        raise UsageError(
            "the inventory has no gateway", hint="put a host into the group `gateway`, or see docs/gateway.md"
        )
    return seen


def _own(balancer: Balancer, names: list[str]) -> list[str]:
    """Those of ``names`` that a balancer stands before."""
    known = balancer.states()
    return [name for name in names if name in known]


def _named(session: Session, servers: str) -> list[str]:
    """``HOST`` and ``HOST:INSTANCE`` as names of servers. Raises UsageError where one is none."""
    everybody = {**session.settings, **session.peers}
    known = [server_name(host, i.name) for host, told in everybody.items() for i in told.instances]
    found: list[str] = []
    for word in filter(None, (part.strip() for part in servers.split(","))):
        those = [name for name in known if name == word or name.rpartition(":")[0] == word]
        if not those:
            hint = f"there are: {', '.join(known[:8]) or 'none'}"
            raise UsageError(f"no server {word!r}", where="--servers", hint=hint)
        found.extend(name for name in those if name not in found)
    if not found:
        raise UsageError("which servers?", where="--servers", hint="HOST or HOST:INSTANCE, several with commas")
    return found


def _seconds(text: str) -> int:
    try:
        length = round(durations.seconds(text))
    except ValueError:
        length = 0
    if not length:
        raise UsageError(f"{text!r} is no time", where="--for", hint="write 90s, 10m, 2h or 1d")
    return length


def _states(found: Any) -> list[ServerState]:
    return list(found.values()) if isinstance(found, Mapping) else []


def _row(name: str, state: ServerState) -> list[Any]:
    left = max(0, int(state.expires - time.time())) if state.expires else 0
    until = f"{left // 60}:{left % 60:02} left" if left else "over" if state.expires else ""
    health = "up" if state.up else "down"
    return [name, state.server, health, state.admin, state.sessions, until, state.who, *split_way(state.way)]


def _json(state: ServerState) -> dict[str, Any]:
    model, key, at = split_way(state.way)
    return {
        "up": state.up, "admin": state.admin, "sessions": state.sessions, "expires": state.expires,
        "model": model, "key": key, "address": at, "who": state.who,
    }  # fmt: skip


def _say(seen: dict[str, Any], done: str, *, json: bool) -> None:
    if json:
        report.result_json(each_as_json(seen, lambda _: done))
    else:
        rows = {name: found.message if isinstance(found, FleetError) else done for name, found in seen.items()}
        report.table(["gateway", "servers"], rows.items())
    end_badly_if(seen)


collection = Collection("gateway")
collection.add_task(show, name="show", default=True)
collection.add_task(drain)
collection.add_task(ready)
