"""The verbs: pick hosts, call one function of the engine, show its result. ``./inv --list`` shows them all."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import plan as plans
from fleet import report, views
from fleet.cli import (
    check,
    demo,
    gateway,
    history,
    hooks,
    inventory,
    lab,
    lock,
    quarantine,
    releases,
    rollout,
    secret,
    size,
    trust,
    verify,
)
from fleet.cli.program import CHANGING, CONNECTING, confirm, each_as_json, end_badly_if, verb
from fleet.cli.session import Options, Session, lock_directory, open_session
from fleet.errors import FleetError
from fleet.provision import HostResult, Provision
from fleet.provision import provision as provision_hosts
from fleet.quarantine import current as quarantined_in
from fleet.status import read_status
from fleet.survey import Survey, gather, wrong_input
from roles import ROLES


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
        surveys = session.survey_all(refuse=False)  # it is the plan's to show them
        whole = _whole_plan(session, surveys)
        if out:
            plans.write(whole, Path(out))
        if json:
            report.result_json(whole.as_json() | _unreached(surveys))
        else:
            views.show_plan(surveys)
            if out:
                report.note(f"written to {out}; apply exactly this: ./inv provision --plan {out}")
    if wrong := wrong_input(surveys):
        if json:  # people have read it in the plan
            report.error(str(wrong))
        raise Exit(code=wrong.exit_code)
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
    with open_session(
        options, ROLES, doing="provision", allow_docker_restart=allow_docker_restart, leave_out_quarantined=True
    ) as session:
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
    end_badly_if(seen)


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
    """Show every instance: its state, release, model, port, GPUs.

    Example: ./inv status --hosts gpu-cluster
    """
    options = _options(hosts, inventory or [], limit, json, forks, timeout)
    with open_session(options, ROLES, doing="status", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: read_status(transport))
    for name, row in quarantined_in(lock_directory(options)).items():
        if name in seen:
            report.warn(f"{name} is {row}")
    if json:
        report.result_json(each_as_json(seen, lambda found: found))
    else:
        views.show_status(seen)
    end_badly_if(seen)


@verb(common=CHANGING, help={"weights": "Remove the downloaded models too"})
def uninstall(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    yes: bool = False,
    weights: bool = False,
) -> None:
    """Remove what this tool put on hosts: instances, units, settings. Packages, the driver and Docker stay.

    Shows its plan first, and asks. Example: ./inv uninstall --hosts h1
    """
    from fleet.uninstall import Uninstall

    options = _options(hosts, inventory or [], limit, json, forks, timeout)
    with open_session(options, (Uninstall(weights=weights),), doing="uninstall", look_up=False) as session:
        surveys = session.survey_all()
        if not _whole_plan(session, surveys).empty:
            if not json:
                views.show_plan(surveys)
            confirm("Remove all this? Instances stop serving.", yes=yes)
        work = Provision(session.survey, session.owner, session.run_name, session.progress, interrupt=True)
        _finish(session, provision_hosts(session.crew, surveys, work), json=json)


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


namespace = Collection(plan, provision, facts, status, uninstall)
for alone in (check, demo, history, size, trust, verify):  # verbs that stand by themselves
    for name, one in alone.collection.tasks.items():
        namespace.add_task(one, name=name)
several = (gateway, hooks, inventory, lab, lock, quarantine, secret)  # with sub-verbs: lab.up, lock.release, …
for with_verbs in several:
    namespace.add_collection(with_verbs.collection)
namespace.add_collection(releases.collection_with(ROLES))
namespace.add_collection(rollout.collection_with(ROLES))
namespace.add_task(rollout.rollback, name="rollback")
