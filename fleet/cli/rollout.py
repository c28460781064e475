"""``./inv rollout`` and what belongs to it: resume, promote, abort, watch; and ``rollback``, a rollout backwards."""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import home, report, views
from fleet.cli import rolling
from fleet.cli.program import CHANGING, confirm, verb
from fleet.cli.rolling import Rolling
from fleet.cli.session import Options as SessionOptions
from fleet.cli.session import Session, open_session
from fleet.errors import FleetError, UsageError
from fleet.rollout import journal, verdict
from fleet.rollout.options import Options, combined
from fleet.rollout.run import Outcome
from fleet.rollout.switching import Switch, ToReleases
from fleet.rollout.waves import Member
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
    with open_session(given, _roles, doing="rollout") as session:
        options = _options(session, said, canaries=canaries, pause=pause, allow_downtime=allow_downtime)
        surveys = session.survey_all()
        rolling.nobody_else_is_at_it(session, session.run_name)
        roll = _rolling(session, options, session.run_name, why)
        waves = roll.waves(roll.members(surveys))
        if not json:
            views.show_plan(surveys, diffs=False)
            report.result(verdict.waves(waves))
            if waves:
                confirm("Roll this out?", yes=yes)
        prepared = roll.prepare(surveys)
        bad = {name: result for name, result in prepared.items() if result.bad}
        if len(bad) > options.failures_allowed(len(prepared)):
            outcome = Outcome(prepared, {}, "stopped", f"{', '.join(bad)} could not be prepared; nothing was switched")
            _finish(session, outcome, (), json=json)
        surveys = {name: seen for name, seen in session.survey_all().items() if name not in bad}
        _go(roll, roll.members(surveys), roll.to_inventory(), begun=_begun(given, options, why, "rollout"), json=json,
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
    said = _said(locals())
    _none_is_open()
    given = SessionOptions(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(given, _roles, doing="rollback") as session:
        options = _options(session, said, canaries=canaries, pause=pause, allow_downtime=allow_downtime)
        rolling.nobody_else_is_at_it(session, session.run_name)
        targets = rolling.targets(session, int(to))
        surveys = {name: seen for name, seen in session.survey_all().items() if name in targets}
        roll = _rolling(session, options, session.run_name, why)
        members = [rolling.member_of(name, seen) for name, seen in surveys.items() if not isinstance(seen, FleetError)]
        waves = roll.waves(members)
        if not json:
            report.result(verdict.targets(targets))
            report.result(verdict.waves(waves))
            if waves:
                confirm("Go back?", yes=yes)
        begun = _begun(given, options, why, "rollback", targets=targets)
        _go(roll, members, ToReleases(targets), begun=begun, json=json, outcome=Outcome())


@verb(help={**_RUN, "json": "One JSON document on stdout", "yes": "Don't ask"})
def resume(c: Context, run: str = "", json: bool = False, yes: bool = False) -> None:
    """Go on with a rollout that was cut off, from the truth on hosts and gateways.

    Example: ./inv rollout.resume
    """
    _take_up(run, abort=False, json=json, yes=yes)


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
    _take_up(path.parent.name, abort=False, json=json, yes=yes)


@verb(help={**_RUN, "json": "One JSON document on stdout", "yes": "Don't ask"})
def abort(c: Context, run: str = "", json: bool = False, yes: bool = False) -> None:
    """End a rollout that paused or was cut off: hosts in the middle go back, those that are done stay.

    Example: ./inv rollout.abort          then, if need be: ./inv rollback
    """
    _take_up(run, abort=True, json=json, yes=yes)


@verb(help={**_RUN, "json": "The journal's lines, as they come", "once": "Show it as it is now, and end"})
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


def _take_up(run: str, *, abort: bool, json: bool, yes: bool) -> None:
    path = journal.find(run)
    story = journal.read(path)
    if story.closed:
        raise UsageError(f"the rollout {story.run} is over", hint="./inv rollout begins a new one")
    if not json:
        report.result(verdict.standing(story))
    confirm("End it, and take hosts in the middle back?" if abort else "Go on with it?", yes=yes)
    options = Options.from_json(story.begun.get("options", {}))
    where = story.begun.get("where", {})
    given = SessionOptions(
        where.get("hosts", "all"), tuple(where.get("inventory", ())), where.get("limit", ""), json,
        int(where.get("forks", 50)), float(where.get("timeout", 10.0)),
    )  # fmt: skip
    doing = "rollout.abort" if abort else "rollout.resume"
    with open_session(given, _roles, doing=doing) as session:
        _apply(session, options)
        roll = _rolling(session, options, story.run, story.begun.get("why", ""))
        targets = story.begun.get("targets")
        switch: Switch = ToReleases(targets) if targets else roll.to_inventory()
        stopped = any(line["event"] == "stopped" for line in journal.lines(path))
        with roll.under_way((), switch) as rollout_:
            rollout_.work.journal.write("resumed", who=session.owner.who, abort=abort)
            outcome = roll.settle(rollout_, story, abort=abort)
            if abort or stopped or not outcome.settled:
                outcome.state, outcome.reason = _how(outcome, abort=abort)
                if outcome.settled:
                    rollout_.work.journal.write("aborted" if abort else "finished", result=outcome.state)
                _finish(session, outcome, (), json=json)
        surveys = session.survey_all()
        if targets:
            left = rolling.still(session, targets)
            seen = {n: s for n, s in surveys.items() if n in left and not isinstance(s, FleetError)}
            members = [rolling.member_of(name, survey) for name, survey in seen.items()]
        else:
            members = roll.members(surveys)
        _go(roll, members, switch, begun=None, json=json, outcome=outcome, canaries=not story.past_canaries)


def _how(outcome: Outcome, *, abort: bool) -> tuple[str, str]:
    if not outcome.settled:
        open_ = sorted(host for host, end in outcome.ends.items() if not end.is_settled)
        return "open", f"{', '.join(open_)} can't be settled yet; ./inv rollout.resume tries again"
    if abort:
        return "aborted", "hosts that are done keep the new release: ./inv rollback takes it back"
    return "stopped", "it had stopped before; every host serves one of its releases"


def _go(
    roll: Rolling, members: Sequence[Member], switch: Switch, *, begun: Mapping[str, Any] | None, json: bool,
    outcome: Outcome, canaries: bool = True,
) -> None:  # fmt: skip
    waves = roll.waves(members, canaries=canaries)
    if not waves and begun is not None:
        return _finish(roll.session, outcome, waves, json=json)
    with roll.under_way(members, switch) as rollout_:
        if begun is not None:
            rollout_.work.journal.write("begin", who=roll.session.owner.who, members=[m.host for m in members], **begun)
            roll.tell("rollout-begins", {"hosts": [m.host for m in members], "why": roll.why})
        else:
            rollout_.work.journal.write("promoted", who=roll.session.owner.who)
        rollout_.go(waves, outcome)
        if outcome.state == "stopped":
            rollout_.work.journal.write("stopped", reason=outcome.reason)
        if outcome.state != "paused" and outcome.settled:
            rollout_.work.journal.write("finished", result=outcome.state)
        roll.tell("rollout-ends", {"state": outcome.state, "reason": outcome.reason})
    return _finish(roll.session, outcome, waves, json=json)


def _finish(session: Session, outcome: Outcome, waves: Sequence[Any], *, json: bool) -> None:
    told = rolling.document(session.run_name, outcome, waves)
    (session.logs / "result.json").write_text(json_module.dumps(told, indent=2, ensure_ascii=False))
    if json:
        report.result_json(told)
    else:
        views.show_recap(outcome.results, str(session.logs))
        report.result(verdict.screen(outcome))
    if outcome.state not in ("done", "paused", "aborted") or any(result.bad for result in outcome.results.values()):
        raise Exit(code=1)


def _options(session: Session, said: Mapping[str, str], **switches: bool) -> Options:
    told = {name: settings.rollout for name, settings in session.settings.items() if settings.instances}
    canaries = switches.pop("canaries")
    options = combined(told, said, **switches)
    if not canaries:
        options = Options.from_json({**options.as_json(), "canaries": False})
    _apply(session, options)
    return options


def _apply(session: Session, options: Options) -> None:
    """Each host's settings with what the command line says over them."""
    session.settings = {
        name: told.model_copy(update={"rollout": options.of_host(told.rollout)})
        for name, told in session.settings.items()
    }


def _rolling(session: Session, options: Options, run: str, why: str) -> Rolling:
    return Rolling(session, options, run, why, rolling.teller(session, run, why))


def _begun(given: SessionOptions, options: Options, why: str, doing: str, **more: Any) -> dict[str, Any]:
    where = {
        "hosts": given.hosts, "inventory": list(given.inventory), "limit": given.limit, "forks": given.forks,
        "timeout": given.timeout,
    }  # fmt: skip
    return {"doing": doing, "why": why, "where": where, "options": options.as_json(), **more}


def _said(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(given[name]) for name in _LIMITS if given[name]}


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
