"""The verbs: pick hosts, call one function of the engine, show its result. ``./inv --list`` shows them all."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import lock as host_lock
from fleet import plan as plans
from fleet import report, views
from fleet.cli import check, lab
from fleet.cli.program import confirm, verb
from fleet.cli.session import Options, Session, login_of, open_inventory, open_session
from fleet.errors import FleetError
from fleet.provision import HostResult, Provision
from fleet.provision import provision as provision_hosts
from fleet.survey import Survey, gather
from fleet.transport import Transport
from roles import ROLES

CONNECTING = "hosts inventory limit json forks timeout"
CHANGING = CONNECTING + " yes"


def _options(hosts: str, inventory: list[str], limit: str, json: bool, forks: int, timeout: float) -> Options:
    return Options(hosts, tuple(inventory), limit, json, int(forks), float(timeout))


@verb(
    common=CONNECTING,
    help={
        "out": "Write the plan to FILE, for provision --plan FILE",
        "detailed-exitcode": "End with 3 where something would change",
        "allow-docker-restart": "Plan as if Docker may be restarted under running containers",
    },
)
def plan(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    out: str = "",
    detailed_exitcode: bool = False,
    allow_docker_restart: bool = False,
) -> None:
    """Show what provision would do, and what waits for a rollout. Changes nothing.

    Example: ./inv plan --hosts gpu-cluster --out plan.json
    """
    options = _options(hosts, inventory or [], limit, json, forks, timeout)
    with open_session(options, ROLES, doing="plan", allow_docker_restart=allow_docker_restart) as session:
        surveys = session.survey_all()
        whole = _whole_plan(session, surveys)
        if out:
            plans.write(whole, Path(out))
        if json:
            report.result_json(whole.as_json() | _unreached(surveys))
        else:
            views.show_plan(surveys)
            if out:
                report.note(f"written to {out}; apply exactly this: ./inv provision --plan {out}")
    if any(isinstance(seen, FleetError) or seen.plan.blocked for seen in surveys.values()):
        raise Exit(code=1)
    if detailed_exitcode and not whole.empty:
        raise Exit(code=3)


@verb(
    common=CHANGING,
    help={
        "plan": "Do exactly what this file of plan --out says, nothing else",
        "allow-docker-restart": "Restart Docker even where containers run",
    },
)
def provision(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    yes: bool = False,
    plan: str = "",
    allow_docker_restart: bool = False,
) -> None:
    """Prepare hosts and start what isn't running yet; never interrupts an instance that serves.

    Example: ./inv provision --hosts gpu-cluster
    """
    options = _options(hosts, inventory or [], limit, json, forks, timeout)
    exactly = plans.load(Path(plan)) if plan else None
    with open_session(options, ROLES, doing="provision", allow_docker_restart=allow_docker_restart) as session:
        surveys = session.survey_all()
        if not _whole_plan(session, surveys).empty and not json:
            views.show_plan(surveys, diffs=False)
            confirm("Do this?", yes=yes)
        work = Provision(
            session.survey, session.owner, session.run_name, session.progress, exactly.hosts if exactly else None
        )
        results = provision_hosts(session.crew, surveys, work)
        _finish(session, results, json=json)


@verb(common=CONNECTING)
def facts(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
) -> None:
    """Show what the hosts are: system, GPUs, driver, Docker, disks, network.

    Example: ./inv facts --hosts 'gpu-cluster:&t4' --json
    """
    options = _options(hosts, inventory or [], limit, json, forks, timeout)
    with open_session(options, ROLES, doing="facts", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: gather(transport))
    if json:
        report.result_json({name: _facts_json(found) for name, found in seen.items()})
    else:
        views.show_facts(seen)
    _end_badly_if(seen)


@verb(common="hosts inventory limit json timeout yes")
def trust(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    timeout: float = 10.0,
    yes: bool = False,
) -> None:
    """Show the hosts' keys and, after asking, trust those that are unknown or have changed.

    Example: ./inv trust --hosts gpu-cluster
    """
    from fleet.transport.ssh import remember, scan

    _, chosen = open_inventory(_options(hosts, inventory or [], limit, json, 1, timeout))
    shown, failed = [], []
    for host in chosen:
        try:
            shown.append(scan(login_of(host, timeout)))
        except FleetError as error:
            failed.append(error)
    if json:
        report.result_json({s.host: {"fingerprint": s.fingerprint, "state": s.state} for s in shown})
    else:
        report.table(["host", "key", "state"], [[s.host, s.fingerprint, s.state] for s in shown])
    for problem in failed:
        report.error(str(problem))
    new = [s for s in shown if s.state != "known"]
    if new and (not json or yes):
        confirm(f"Trust {len(new)} key(s) that you have compared with the hosts' own?", yes=yes)
        for key in new:
            remember(key)
            report.note(f"{key.host}: written to {key.file}")
    if failed:
        raise Exit(code=1)


@verb(common=CONNECTING, help={"last": "How many lines (default 50)"})
def history(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    last: int = 50,
) -> None:
    """Show what was changed on the hosts: when, by whom, what, why, and how it ended.

    Example: ./inv history --hosts h1 --last 20
    """
    from fleet.audit import read_audit

    options = _options(hosts, inventory or [], limit, json, forks, timeout)
    with open_session(options, ROLES, doing="history", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: read_audit(transport, last))
    lines = sorted(
        (line for found in seen.values() if isinstance(found, list) for line in found), key=lambda x: x["time"]
    )
    if json:
        report.result_json(lines[-last:])
    else:
        columns = ["time", "host", "who", "kind", "resource", "result", "why"]
        report.table(columns, [[line.get(name, "") for name in columns] for line in lines[-last:]])
    _end_badly_if(seen)


@verb(common=CONNECTING)
def lock_status(
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
    options = _options(hosts, inventory or [], limit, json, forks, timeout)
    with open_session(options, ROLES, doing="lock.status", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: host_lock.status(transport) or "free")
    rows = {name: found.message if isinstance(found, FleetError) else str(found) for name, found in seen.items()}
    if json:
        report.result_json(rows)
    else:
        report.table(["host", "lock"], rows.items())
    _end_badly_if(seen)


@verb(common=CHANGING, help={"message": "Why, for those who come"})
def lock_acquire(
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
    options = _options(hosts, inventory or [], limit, json, forks, timeout)
    with open_session(options, ROLES, doing=message, look_up=False) as session:
        confirm(f"Lock {len(session.names)} host(s)?", yes=yes)
        seen = session.crew.each(session.names, lambda _, transport: host_lock.keep(transport, session.owner))
    _say_each(seen, "locked", json=json)


@verb(common=CHANGING)
def lock_release(
    c: Context,
    hosts: str = "all",
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
    options = _options(hosts, inventory or [], limit, json, forks, timeout)
    with open_session(options, ROLES, doing="lock.release", look_up=False) as session:
        confirm(f"Release {len(session.names)} host(s)?", yes=yes)

        def let_go(_: str, transport: Transport) -> str:
            return "released" if host_lock.release(transport) else "was free"

        seen = session.crew.each(session.names, let_go)
    _say_each(seen, "", json=json)


def _say_each(seen: dict[str, Any], done: str, *, json: bool) -> None:
    rows = {
        name: found.message if isinstance(found, FleetError) else str(found or done) for name, found in seen.items()
    }
    if json:
        report.result_json(rows)
    else:
        report.table(["host", "lock"], rows.items())
    _end_badly_if(seen)


def _whole_plan(session: Session, surveys: dict[str, Survey | FleetError]) -> plans.Plan:
    hosts = {name: seen.plan for name, seen in surveys.items() if isinstance(seen, Survey)}
    return plans.Plan(hosts, session.inputs)


def _unreached(surveys: dict[str, Survey | FleetError]) -> dict[str, Any]:
    errors = {name: seen.as_json() for name, seen in surveys.items() if isinstance(seen, FleetError)}
    return {"unreachable": errors} if errors else {}


def _facts_json(found: Any) -> dict[str, Any]:
    if isinstance(found, FleetError):
        return {"problems": [found.as_json()]}
    return {**found.as_json(), "problems": []}


def _finish(session: Session, results: dict[str, HostResult], *, json: bool) -> None:
    document = {"run": session.run_name, "hosts": {name: result.as_json() for name, result in results.items()}}
    (session.logs / "result.json").write_text(json_module.dumps(document, indent=2, ensure_ascii=False))
    if json:
        report.result_json(document)
    else:
        views.show_recap(results, str(session.logs))
    if any(result.bad for result in results.values()):
        raise Exit(code=1)


def _end_badly_if(seen: dict[str, Any]) -> None:
    for found in seen.values():
        if isinstance(found, FleetError):
            report.error(str(found))
    if any(isinstance(found, FleetError) for found in seen.values()):
        raise Exit(code=1)


namespace = Collection(plan, provision, facts, trust, history)
_lock = Collection("lock")
_lock.add_task(lock_status, name="status", default=True)
_lock.add_task(lock_acquire, name="acquire")
_lock.add_task(lock_release, name="release")
namespace.add_collection(_lock)
namespace.add_collection(lab.collection)
namespace.add_collection(check.collection)
