"""``./inv rollout`` and what belongs to it: resume, promote, abort, watch; and ``rollback``, a rollout backwards."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from invoke.collection import Collection
from invoke.context import Context

from fleet import home, report, views
from fleet.cli import rolling
from fleet.cli.commandline import at_least, share
from fleet.cli.program import CHANGING, confirm, verb
from fleet.cli.rollout_run import begun_by, finish, go, options_of, rolling_of
from fleet.cli.rollout_taking_up import adopt, take_up
from fleet.cli.session import Options as SessionOptions
from fleet.cli.session import open_session
from fleet.errors import FleetError, UsageError
from fleet.rollout import journal, verdict
from fleet.rollout.run import Outcome
from fleet.survey import Role

_LIMITS: Final = (
    "batch", "max_unavailable", "max_fail", "min_healthy", "max_regression", "same_answers",
    "drain_deadline", "start_deadline",
)  # fmt: skip
_HELP: Final = {
    "batch": "Sizes of the waves after the canaries (default 1,5,25%; the last one is kept)",
    "max-unavailable": "How many hosts may be away at once (default 25%)",
    "max-fail": "How many hosts may fail before it stops (default 0; a canary always stops it)",
    "canaries": "First one host of each class, one after another (--no-canaries leaves that out)",
    "pause": "Stop after the canaries until rollout.promote or rollout.abort",
    "allow-downtime": "Also where a model is left without a server meanwhile",
    "min-healthy": "How long a new release must run well before its host is done (default 60s)",
    "max-regression": "How much slower it may be than the one before (default 20%)",
    "same-answers": "How many of the fixed prompts must be answered as before (default 75%)",
    "drain-deadline": "How long requests under way may take (default 10m)",
    "start-deadline": "How long a start may take (default: by the weights' size)",
    "why": "For the history on the hosts, and for hooks",
}
_RUN: Final = {"run": "Which rollout (default: the newest that is open)"}
_WATCHED: Final = {"run": "Which rollout (default: the newest that is open, else the newest)"}
_TAKING_UP: Final = {
    **_RUN,
    "hosts": "With --run: the hosts of a rollout whose journal lies on another machine",
    "inventory": "With --hosts: the inventory that they stand in",
    "json": "One JSON document on stdout",
    "yes": "Don't ask",
}
_roles: list[Role] = []


@verb(common=CHANGING, help=_HELP)
def rollout(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    yes: bool = False,
    batch: str = "",
    max_unavailable: str = "",
    max_fail: str = "",
    canaries: bool = True,
    pause: bool = False,
    allow_downtime: bool = False,
    min_healthy: str = "",
    max_regression: str = "",
    same_answers: str = "",
    drain_deadline: str = "",
    start_deadline: str = "",
    why: str = "",
) -> None:
    """Bring what waits to the hosts, a wave at a time: drain, switch, gates, back in; the first that is worse stops it.

    Example: ./inv rollout --hosts gpu-cluster --batch 1,5,25% --why "qwen 2.5 → 3"
    """
    said = _said(locals())
    _none_is_open()
    given = SessionOptions(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(given, _roles, doing="rollout", leave_out_quarantined=True) as session:
        options = options_of(session, said, canaries=canaries, pause=pause, allow_downtime=allow_downtime)
        surveys = session.survey_all()
        rolling.nobody_else_is_at_it(session, session.run_name)
        roll = rolling_of(session, options, session.run_name, why)
        roll.names_stay()
        waves = roll.waves(roll.members(surveys))
        if not json:
            views.show_plan(surveys, diffs=False)
            report.result(verdict.waves(waves, _unseen(surveys)))
            if waves:
                confirm("Roll this out?", yes=yes)
        prepared = roll.prepare(surveys)
        surveys = session.survey_all()
        rolling.not_seen(prepared, {n: seen for n, seen in surveys.items() if n in prepared and not prepared[n].bad})
        bad = {name: result for name, result in prepared.items() if result.bad}
        if len(bad) > options.failures_allowed(len(prepared)):
            outcome = Outcome(prepared, {}, "stopped", f"{', '.join(bad)} could not be prepared; nothing was switched")
            finish(session, outcome, (), json=json)
        surveys = {name: seen for name, seen in surveys.items() if name not in bad}
        go(roll, roll.members(surveys), roll.to_inventory(), begun=begun_by(given, options, why, "rollout"), json=json,
            outcome=Outcome(prepared))  # fmt: skip


@verb(common=CHANGING, help={**_HELP, "to": "The release's number (default: the one before)"})
def rollback(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    yes: bool = False,
    to: int = 0,
    batch: str = "",
    max_unavailable: str = "",
    max_fail: str = "",
    canaries: bool = True,
    pause: bool = False,
    allow_downtime: bool = False,
    min_healthy: str = "",
    max_regression: str = "",
    same_answers: str = "",
    drain_deadline: str = "",
    start_deadline: str = "",
    why: str = "",
) -> None:
    """Go back to the release before, or to --to N: a rollout backwards, which downloads nothing.

    Example: ./inv rollback --hosts gpu-cluster --why "answers got worse"
    """
    at_least(0, to=to)
    said = _said(locals())
    _none_is_open()
    given = SessionOptions(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(given, _roles, doing="rollback", leave_out_quarantined=True) as session:
        options = options_of(session, said, canaries=canaries, pause=pause, allow_downtime=allow_downtime)
        rolling.nobody_else_is_at_it(session, session.run_name)
        targets, failed = rolling.targets(session, int(to))
        surveys = {name: seen for name, seen in session.survey_all().items() if name in targets}
        roll = rolling_of(session, options, session.run_name, why)
        roll.names_stay(targets)
        rolling.not_seen(failed, {n: seen for n, seen in surveys.items() if isinstance(seen, FleetError)})
        members = [rolling.member_of(name, seen) for name, seen in surveys.items() if not isinstance(seen, FleetError)]
        waves = roll.waves(members)
        if not json:
            for name, result in failed.items():
                report.warn(f"{name} stays as it is: {result.failures[0].message}")
            report.result(verdict.targets(targets))
            report.result(verdict.waves(waves))
            if waves:
                confirm("Go back?", yes=yes)
        begun = begun_by(given, options, why, "rollback", targets=targets)
        go(roll, members, roll.to_releases(targets), begun=begun, json=json, outcome=Outcome(failed))


@verb(help=_TAKING_UP)
def resume(
    c: Context,
    run: str = "",
    hosts: str = "",
    inventory: list[str] | None = None,
    json: bool = False,
    yes: bool = False,
) -> None:
    """Go on with a rollout that was cut off, from the truth on hosts and gateways.

    Example: ./inv rollout.resume
    """
    _from_elsewhere(run, hosts, inventory)
    take_up(run, _roles, abort=False, json=json, yes=yes)


@verb(help={**_RUN, "json": "One JSON document on stdout", "yes": "Don't ask"})
def promote(c: Context, run: str = "", json: bool = False, yes: bool = False) -> None:
    """Go on with a rollout that paused after its canaries.

    Example: ./inv rollout.promote
    """
    path = journal.find(run)
    if journal.read(path).state != "paused":
        raise UsageError(
            f"the rollout {path.parent.name} doesn't pause", hint="rollout.resume goes on with one that was cut off"
        )
    take_up(path.parent.name, _roles, abort=False, json=json, yes=yes)


@verb(help=_TAKING_UP)
def abort(
    c: Context,
    run: str = "",
    hosts: str = "",
    inventory: list[str] | None = None,
    json: bool = False,
    yes: bool = False,
) -> None:
    """End a rollout that paused or was cut off: hosts in the middle go back, those that are done stay.

    Example: ./inv rollout.abort          then, if need be: ./inv rollback
    """
    _from_elsewhere(run, hosts, inventory)
    take_up(run, _roles, abort=True, json=json, yes=yes)


@verb(help={**_WATCHED, "json": "The journal's lines, as they come", "once": "Show it as it is now, and end"})
def watch(c: Context, run: str = "", json: bool = False, once: bool = False) -> None:
    """Follow a rollout from another terminal: where each host is, and what its gates said.

    Example: ./inv rollout.watch          ./inv rollout.watch --json | jq .
    """
    path = journal.find(run) if run or journal.open_one() else _newest()
    shown = 0
    while True:
        lines = list(journal.lines(path))
        for line in lines[shown:]:
            if json:
                report.result_jsonl(line)
            elif words := verdict.line(line):
                report.result(words)
        shown = len(lines)
        story = journal.told(path.parent.name, iter(lines))
        if once or story.closed:
            if not json:
                report.result(verdict.standing(story))
            return
        time.sleep(1)


def _from_elsewhere(run: str, hosts: str, inventory: list[str] | None) -> None:
    if hosts and not run:
        raise UsageError(
            "--hosts alone doesn't say which rollout", where="--hosts",
            hint="one begun here needs neither; of one begun elsewhere its hosts tell the name: --run NAME --hosts …",
        )  # fmt: skip
    if hosts:
        adopt(run, SessionOptions(hosts, tuple(inventory or [])))


def _said(given: Mapping[str, Any]) -> dict[str, str]:
    share("same_answers", given["same_answers"])
    return {name: str(given[name]) for name in _LIMITS if given[name]}


def _unseen(surveys: rolling.Surveys) -> list[str]:
    """The hosts of which nobody can say what waits there."""
    return [name for name, seen in surveys.items() if isinstance(seen, FleetError) or seen.plan.blocked]


def _none_is_open() -> None:
    path = journal.open_one()
    if path is None:
        return
    story = journal.read(path)
    words = "pauses after its canaries" if story.state == "paused" else "was cut off, or is under way"
    raise UsageError(
        f"the rollout {story.run} {words}", where=str(path.relative_to(home.home().parent)),
        hint="./inv rollout.watch shows it; rollout.resume, rollout.promote or rollout.abort ends it",
    )  # fmt: skip


def _newest() -> Any:
    runs = journal.known()
    return journal.find(runs[0] if runs else "")


def collection_with(roles: Sequence[Role]) -> Collection:
    """The verbs, for hosts that must be what ``roles`` say."""
    _roles[:] = roles
    made = Collection("rollout")
    made.add_task(rollout, name="rollout", default=True)
    for name, one in (("resume", resume), ("promote", promote), ("abort", abort), ("watch", watch)):
        made.add_task(one, name=name)
    return made
