"""``./inv releases.prune``: take from hosts the images and weights that nobody needs any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.program import CHANGING, confirm, end_badly_if, verb
from fleet.cli.session import Options, Session, open_session
from fleet.errors import FleetError, HostError
from fleet.inventory import load
from fleet.prune import Goes
from fleet.pruning import Found, Pruned, Pruning, look
from fleet.rollout import journal
from fleet.survey import Role
from fleet.transport import Transport

_GIB: Final = 2**30
_roles: list[Role] = []


@verb(common=CHANGING, help={"dry-run": "Only show what would go"})
def prune(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Remove images and weights that no kept release, no container and not the inventory uses; shows them first.

    Only what this tool brought there. Example: ./inv releases.prune --hosts gpu-cluster --dry-run
    """
    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, _roles, doing="releases.prune") as session:
        seen = _look(session)
        if not json:
            _show(seen)
        going = {name: found for name, found in seen.items() if isinstance(found, Found) and found.going}
        done: dict[str, Pruned | FleetError] = {}
        if going and not dry_run:
            bytes_, things = _size(going), sum(len(found.going) for found in going.values())
            confirm(f"Remove {things} things ({_gib(bytes_)}) from {len(going)} host(s)?", yes=yes)
            done = _remove(session, going)
    if json:
        report.result_json({"run": session.run_name, "dry_run": dry_run, "hosts": as_json(seen, done)})
    elif done:
        removed = [one for came in done.values() if isinstance(came, Pruned) for one in came.removed]
        count = sum(isinstance(came, Pruned) and bool(came.removed) for came in done.values())
        report.result(f"removed {len(removed)} things ({_gib(sum(o.size for o in removed))}) from {count} host(s)")
    elif not going and not any(isinstance(found, FleetError) for found in seen.values()):
        report.result("nothing to prune: all images and weights of ours there are needed")
    end_badly_if({**seen, **done})
    failed = [error for came in done.values() if isinstance(came, Pruned) for _, error in came.failed]
    for error in failed:
        report.error(str(error))
    if failed:
        raise Exit(code=1)


def _look(session: Session) -> Mapping[str, Found | FleetError]:
    story = _open_rollout(session.names)

    def one(name: str, transport: Transport) -> Found:
        if name in story[1]:
            raise HostError(
                f"the rollout {story[0]} is open here: what was before may be needed to go back", where=name,
                hint="./inv rollout.watch shows it; rollout.resume, rollout.promote or rollout.abort ends it",
            )  # fmt: skip
        session.progress.doing(name, "looking")
        try:
            return look(transport, session.survey(name, transport))
        finally:
            session.progress.finished(name)

    return session.crew.each(session.names, one)


def _remove(session: Session, going: Mapping[str, Found]) -> dict[str, Pruned | FleetError]:
    work = Pruning(session.survey, session.owner, session.run_name, session.progress.doing)

    def one(name: str, transport: Transport) -> Pruned:
        try:
            return work.host(name, transport, {thing.key for thing in going[name].going})
        finally:
            session.progress.finished(name)

    return session.crew.each(going, one)


def _open_rollout(names: Sequence[str]) -> tuple[str, set[str]]:
    """The rollout that is open on this machine, and which of these hosts it is about: all, where that can't be told."""
    path = journal.open_one()
    if path is None:
        return "", set()
    story = journal.read(path)
    where = story.begun.get("where") or {}
    try:
        inventory = load([Path(source) for source in where["inventory"]])
        about = set(inventory.names(where["hosts"], where["limit"] or None))
    except (FleetError, KeyError, TypeError):
        about = set(names)
    return story.run, about & set(names)


def as_json(seen: Mapping[str, Found | FleetError], done: Mapping[str, Pruned | FleetError]) -> dict[str, Any]:
    """Host → what may go, what went, what failed; a host that can't be asked has its ``error``."""
    hosts: dict[str, Any] = {}
    for name, found in seen.items():
        came = done.get(name)
        error = next((one for one in (found, came) if isinstance(one, FleetError)), None)
        hosts[name] = {
            "goes": [_about(one) for one in found.going] if isinstance(found, Found) else [],
            "removed": [one.label for one in came.removed] if isinstance(came, Pruned) else [],
            "failures": [
                {"name": one.label, **why.as_json()} for one, why in (came.failed if isinstance(came, Pruned) else [])
            ],
            **({"error": error.as_json()} if error else {}),
        }
    return hosts


def _about(one: Goes) -> dict[str, Any]:
    size = {"bytes": one.size, "gib": round(one.size / _GIB, 3), "at_most": one.at_most}
    return {"kind": one.kind, "name": one.label, **size, "why": one.why}


def _show(seen: Mapping[str, Found | FleetError]) -> None:
    rows = [
        [name, one.kind, one.label, ("≤ " if one.at_most else "") + _gib(one.size), one.why]
        for name, found in seen.items()
        if isinstance(found, Found)
        for one in found.going
    ]
    if rows:
        report.table(["host", "what", "name", "size", "why it may go"], rows)


def _size(going: Mapping[str, Found]) -> int:
    return sum(one.size for found in going.values() for one in found.going)


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB / 10 else f"{size / _GIB:.3f} GiB"


def prune_with(roles: Sequence[Role]) -> Any:
    """The verb, for hosts that must be what ``roles`` say."""
    _roles[:] = roles
    return prune
