"""What the rollout's verbs do with an open session: go through the waves, take up what was cut off, say what came."""

from __future__ import annotations

import json as json_module
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from invoke.exceptions import Exit

from fleet import report, views
from fleet.cli import rolling
from fleet.cli.program import confirm
from fleet.cli.rolling import Rolling
from fleet.cli.session import Options as SessionOptions
from fleet.cli.session import Session, open_session, sources
from fleet.errors import FleetError, UsageError
from fleet.rollout import journal, marker, verdict
from fleet.rollout.journal import Journal
from fleet.rollout.options import Options, combined
from fleet.rollout.run import Outcome
from fleet.rollout.switching import Switch, ToReleases
from fleet.rollout.turn import At
from fleet.rollout.waves import Member
from fleet.survey import Role

#: What of a journal's first line says what the rollout was, wherever it is taken up.
_BEGUN: Final = ("doing", "why", "options", "targets")


def take_up(run: str, roles: Sequence[Role], *, abort: bool, json: bool, yes: bool) -> None:
    """Go on with a rollout that pauses or was cut off, or end it.

    Raises:
        UsageError: there is none, or it is over.
    """
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
    with open_session(given, roles, doing=doing) as session:
        _apply(session, options)
        roll = rolling_of(session, options, story.run, story.begun.get("why", ""))
        targets = story.begun.get("targets")
        switch: Switch = ToReleases(targets) if targets else roll.to_inventory()
        if story.state == "paused" and not abort:  # a required hook may have something against it: then it still pauses
            left = [host for host in story.begun.get("members", ()) if host not in story.ends]
            roll.tell("promotion", {"hosts": left, "done": sorted(story.ends)})
        stopped = [str(line.get("reason", "")) for line in journal.lines(path) if line["event"] == "stopped"]
        with roll.under_way((), switch) as rollout_:
            rollout_.work.journal.write("resumed", who=session.owner.who, abort=abort)
            outcome = roll.settle(rollout_, story, abort=abort)
            if abort or stopped or not outcome.settled:
                outcome.state, outcome.reason = _how(outcome, abort=abort, stopped="".join(stopped[-1:]))
                if outcome.settled:
                    rollout_.work.journal.write("aborted" if abort else "finished", result=outcome.state)
                finish(session, outcome, (), json=json)
                return
        surveys = session.survey_all()
        if targets:
            left = rolling.still(session, targets)
            seen = {n: s for n, s in surveys.items() if n in left and not isinstance(s, FleetError)}
            members = [rolling.member_of(name, survey) for name, survey in seen.items()]
        else:
            members = roll.members(surveys)
        # One that was put back was judged: trying it again is for a rollout that somebody begins.
        members = [member for member in members if outcome.ends.get(member.host) is not At.REVERTED]
        go(
            roll, members, switch, begun=None, json=json, outcome=outcome, proven=rolling.proven(surveys, outcome.ends),
            canaries=story.canaries, promoted=story.state == "paused",
        )  # fmt: skip


def adopt(run: str, given: SessionOptions) -> None:
    """Make a journal here for a rollout whose own lies on another machine, from what its hosts remember.

    Its other hosts are left alone: which they were, only that journal tells. One that was taken over before, and is
    over, is opened again for further hosts that are in the middle of it.

    Raises:
        UsageError: no host is in the middle of it.
    """
    before = journal.read(journal.find(run)) if run in journal.known() else None
    if before and not before.closed:
        return
    with open_session(given, (), doing="rollout.adopt", look_up=False) as session:
        came = session.crew.each(session.names, lambda _, transport: marker.read(transport))
        for name, told in came.items():
            if isinstance(told, FleetError):
                report.warn(f"{name} can't be asked whether it is in the middle of {run}: {told.message}")
        found = {n: told for n, told in came.items() if isinstance(told, marker.Marker) and told.run == run}
        if not found:
            raise UsageError(
                f"no host is in the middle of the rollout {run}", where="--hosts", hint="see ./inv history"
            )
        who = next(iter(found.values())).who
        begun = begun_by(given, Options(), "", "rollout")
        if before:  # what it was is known here: a rollback stays one
            begun = {key: told for key, told in before.begun.items() if key in _BEGUN} | {"where": begun["where"]}
        with Journal(run) as book:
            book.write("begin", who=who, members=sorted(found), **begun)
            for name, told in found.items():
                book.write(
                    "step", host=name, at=told.at.value, back=told.back, before=told.before, touched=told.touched
                )
            others = "its other hosts are known there alone, and ./inv rollout brings what still waits"
            book.write("stopped", reason=f"taken over from {who}: {others}")


def _how(outcome: Outcome, *, abort: bool, stopped: str) -> tuple[str, str]:
    if not outcome.settled:
        open_ = sorted(host for host, end in outcome.ends.items() if not end.is_settled)
        return "open", f"{', '.join(open_)} can't be settled yet; ./inv rollout.resume tries again"
    if abort:
        return "aborted", "hosts that are done keep the new release: ./inv rollback takes it back"
    return "stopped", f"it had stopped before ({stopped}); every host that had begun serves one of its releases"


def go(
    roll: Rolling, members: Sequence[Member], switch: Switch, *, begun: Mapping[str, Any] | None, json: bool,
    outcome: Outcome, proven: Collection[str] = (), canaries: Collection[str] = (), promoted: bool = False,
) -> None:  # fmt: skip
    """All waves of ``members``; a rollout that begins (``begun``) opens its journal."""
    waves = roll.waves(members, proven=proven)
    if not waves and begun is not None:
        finish(roll.session, outcome, waves, json=json)
        return
    if begun is not None:  # a required hook may refuse it: then nothing was begun
        roll.tell("rollout-begins", {"hosts": [m.host for m in members], "why": roll.why})
    with roll.under_way(members, switch) as rollout_:
        if begun is not None:
            rollout_.work.journal.write("begin", who=roll.session.owner.who, members=[m.host for m in members], **begun)
        elif promoted:
            rollout_.work.journal.write("promoted", who=roll.session.owner.who)
        rollout_.go(waves, outcome, canaries=canaries)
        try:
            if outcome.state == "stopped":  # one that is only held isn't over: a resume goes on to its next wave
                rollout_.work.journal.write("held" if outcome.held else "stopped", reason=outcome.reason)
            if outcome.state != "paused" and outcome.settled and not outcome.held:
                rollout_.work.journal.write("finished", result=outcome.state)
        except FleetError as error:  # the verdict is shown all the same
            report.warn(f"{error.message}: {error.hint}")
        refused = False
        if outcome.state != "paused":
            try:
                roll.tell("rollout-ends", {"state": outcome.state, "reason": outcome.reason})
            except (
                FleetError
            ) as error:  # a required hook: it changes nothing any more, and the verdict is shown all the same
                report.warn(error.message)
                refused = True
    finish(roll.session, outcome, waves, json=json)
    if refused:
        raise Exit(code=1)


def finish(session: Session, outcome: Outcome, waves: Sequence[Any], *, json: bool) -> None:
    """Show what came of it, and end with 1 where it isn't as it should be."""
    told = rolling.document(session.run_name, outcome, waves)
    try:
        (session.logs / "result.json").write_text(json_module.dumps(told, indent=2, ensure_ascii=False))
    except OSError as error:  # the verdict is shown all the same
        report.warn(f"{session.logs / 'result.json'} can't be written: {error.strerror}")
    if json:
        report.result_json(told)
    else:
        views.show_recap(outcome.results, str(session.logs))
        report.result(verdict.screen(outcome))
    # One that was put back before a resume has no failure in this run, and isn't well all the same.
    put_back = outcome.state == "done" and any(end is not At.DONE for end in outcome.ends.values())
    bad = any(result.bad for result in outcome.results.values())
    if outcome.state not in ("done", "paused", "aborted") or bad or put_back:
        raise Exit(code=1)


def options_of(session: Session, said: Mapping[str, str], **switches: bool) -> Options:
    """The run's options, put over each host's own."""
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


def rolling_of(session: Session, options: Options, run: str, why: str) -> Rolling:
    """The rollout of a session."""
    return Rolling(session, options, run, why, rolling.teller(session, run, why))


def begun_by(given: SessionOptions, options: Options, why: str, doing: str, **more: Any) -> dict[str, Any]:
    """What the journal's first line says: what a resume needs to know."""
    where = {
        "hosts": given.hosts, "inventory": [str(path.resolve()) for path in sources(given.inventory)],
        "limit": given.limit, "forks": given.forks, "timeout": given.timeout,
    }  # fmt: skip
    return {"doing": doing, "why": why, "where": where, "options": options.as_json(), **more}
