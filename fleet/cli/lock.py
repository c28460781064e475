"""``lock.status``, ``lock.acquire``, ``lock.release``: who is at work on the hosts."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from fleet import lock as host_lock
from fleet import report
from fleet.cli.program import CHANGING, CONNECTING, confirm, each_as_json, end_badly_if, verb
from fleet.cli.session import Options, open_session
from fleet.errors import FleetError, UsageError
from fleet.transport import Transport


@verb(common=CONNECTING)
def status(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
) -> None:
    """Show who is at work on the hosts.

    Example: ./inv lock.status
    """
    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, (), doing="lock.status", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: host_lock.status(transport) or "free")
    _say_each(seen, "", json=json)


@verb(common=CHANGING, help={"message": "Why, for those who come"})
def acquire(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    yes: bool = False,
    message: str = "kept by hand",
) -> None:
    """Keep everybody out of the hosts until lock.release, across reboots.

    Example: ./inv lock.acquire --hosts h1 --message 'swapping a GPU'
    """
    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, (), doing=message, look_up=False) as session:
        confirm(f"Lock {len(session.names)} host(s)?", yes=yes)
        seen = session.crew.each(session.names, lambda _, transport: host_lock.keep(transport, session.owner))
    _say_each(seen, "locked", json=json)


@verb(common=CHANGING, help={"hosts": "Which hosts: a pattern; --hosts all where really all of them are meant"})
def release(
    c: Context,
    hosts: str = "",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    yes: bool = False,
) -> None:
    """Let hosts go, whoever holds them. Ask the owner first: their run ends.

    Example: ./inv lock.release --hosts h1
    """
    if not hosts:
        raise UsageError(
            "which hosts?", where="--hosts", hint="name them, or --hosts all; ./inv lock shows who is there"
        )
    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, (), doing="lock.release", look_up=False) as session:
        confirm(f"Release {len(session.names)} host(s)?", yes=yes)

        def let_go(_: str, transport: Transport) -> str:
            return "released" if host_lock.release(transport) else "was free"

        seen = session.crew.each(session.names, let_go)
    _say_each(seen, "", json=json)


def _say_each(seen: dict[str, Any], done: str, *, json: bool) -> None:
    def said(found: Any) -> str:
        return found.message if isinstance(found, FleetError) else str(found or done)

    if json:
        report.result_json(each_as_json(seen, said))
    else:
        report.table(["host", "lock"], [(name, said(found)) for name, found in seen.items()])
    end_badly_if(seen)


collection = Collection("lock")
collection.add_task(status, default=True)
collection.add_task(acquire)
collection.add_task(release)
