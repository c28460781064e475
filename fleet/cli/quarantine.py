"""``quarantine``, ``quarantine.list``, ``quarantine.end``: hosts that provision and rollout leave out for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from invoke.collection import Collection
from invoke.context import Context

from fleet import quarantine as book
from fleet import report
from fleet.cli.program import confirm, verb
from fleet.cli.session import Options, lock_directory, open_inventory
from fleet.errors import UsageError
from fleet.lock import Owner

_PICKING = "hosts inventory limit json"


@verb(
    common=f"{_PICKING} yes",
    help={"why": "The reason, for those who wonder", "for_": "How long: 30m, 2h, 2d (default 1d)"},
)
def quarantine(
    c: Context,
    hosts: str = "",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    yes: bool = False,
    why: str = "",
    for_: str = "",
) -> None:
    """Have provision and rollout leave hosts out for a while; without --why, show which are.

    What serves there goes on. Example: ./inv quarantine --hosts h3 --why 'GPU 2 throws Xid 79' --for 2d
    """
    options = Options(hosts or "all", tuple(inventory or []), limit, json)
    if not why.strip():
        if for_:
            raise UsageError("why?", where="--why", hint="a reason in words: those who come to the host want to know")
        _list(options)
        return
    if not hosts:
        hint = "name them; --hosts all, where really all of them are meant"
        raise UsageError("which hosts are to be left out?", where="--hosts", hint=hint)
    length = book.duration(for_ or "1d")
    _, picked = open_inventory(options)
    directory = lock_directory(options)
    rows = book.load(directory)
    confirm(f"Leave {len(picked)} host(s) out?", yes=yes)
    names = [host.name for host in picked]
    rows = book.add(rows, names, why.strip(), Owner.me("quarantine").who, length, book.utc_now())
    book.store(directory, rows)
    _show({name: rows[name] for name in names}, json=json)
    report.note(f"written to {directory / book.FILE}: commit it, so that the others leave them out too")


@verb(common=_PICKING)
def list_(
    c: Context, hosts: str = "all", inventory: list[str] | None = None, limit: str = "", json: bool = False
) -> None:
    """Show the hosts in quarantine: since when, until when, by whom, why.

    Example: ./inv quarantine.list
    """
    _list(Options(hosts, tuple(inventory or []), limit, json))


@verb(common=f"{_PICKING} yes")
def end(
    c: Context,
    hosts: str = "",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    yes: bool = False,
) -> None:
    """Take hosts back in before their time; the next provision or rollout brings them up to date.

    Example: ./inv quarantine.end --hosts h3
    """
    if not hosts:
        raise UsageError("which hosts?", where="--hosts", hint="name them, or --hosts all; ./inv quarantine shows them")
    options = Options(hosts, tuple(inventory or []), limit, json)
    _, picked = open_inventory(options)
    directory = lock_directory(options)
    rows = book.load(directory)
    now = book.utc_now()
    ended = {host.name: book.active(rows, now)[host.name] for host in picked if host.name in book.active(rows, now)}
    if ended:
        confirm(f"Take {len(ended)} host(s) back in?", yes=yes)
        book.store(directory, book.end(rows, ended, now))
    _show(ended, json=json)
    report.note(f"{len(ended)} of {len(picked)} host(s) taken back in")


def _list(options: Options) -> None:
    _, picked = open_inventory(options)
    rows = book.current(lock_directory(options))
    _show({host.name: rows[host.name] for host in picked if host.name in rows}, json=options.json)


def _show(rows: Mapping[str, book.Row], *, json: bool) -> None:
    if json:
        report.result_json({host: asdict(row) for host, row in rows.items()})
    else:
        columns = ["host", "until", "why", "who", "since"]
        report.table(columns, [[host, row.until, row.why, row.who, row.since] for host, row in rows.items()])


collection = Collection("quarantine")
collection.add_task(quarantine, name="add", default=True)
collection.add_task(list_, name="list")
collection.add_task(end)
