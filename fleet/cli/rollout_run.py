"""What the rollout's verbs do with an open session: begin, go through the waves, say what came."""

from __future__ import annotations

import json as json_module
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from invoke.exceptions import Exit

from fleet import report, views
from fleet.cli import rolling
from fleet.cli.rolling import Rolling
from fleet.cli.session import Options as SessionOptions
from fleet.cli.session import Session, sources
from fleet.errors import FleetError
from fleet.rollout import verdict
from fleet.rollout.journal import JournalLost
from fleet.rollout.options import Options, combined
from fleet.rollout.run import Outcome, Rollout
from fleet.rollout.switching import Switch
from fleet.rollout.turn import At
from fleet.rollout.waves import Member, Wave


def go(
    roll: Rolling, members: Sequence[Member], switch: Switch, *, begun: Mapping[str, Any], json: bool, outcome: Outcome
) -> None:
    """Begin a rollout: its journal, and all waves of ``members``."""
    waves = roll.waves(members)
    if not waves:
        finish(roll.session, outcome, waves, json=json)
        return
    # A required hook may refuse it: then nothing was begun.
    roll.tell("rollout-begins", {"hosts": [m.host for m in members], "why": roll.why})
    with roll.under_way(members, switch) as rollout_:
        try:
            rollout_.work.journal.write("begin", who=roll.session.owner.who, members=[m.host for m in members], **begun)
        except JournalLost as error:
            raise JournalLost(
                error.message, where=error.where, hint="make room on this machine; nothing was begun"
            ) from error
        refused = through(roll, rollout_, waves, outcome)
    finish(roll.session, outcome, waves, json=json)
    if refused:
        raise Exit(code=1)


def through(
    roll: Rolling, rollout_: Rollout, waves: Sequence[Wave], outcome: Outcome, *, canaries: Collection[str] = (),
    promoted: bool = False,
) -> bool:  # fmt: skip
    """These waves to their end, and the end into the journal; whether a required hook had something against that."""
    rollout_.go(waves, outcome, canaries=canaries, promoted=promoted)
    try:
        if outcome.state == "stopped":  # one that is only held isn't over: a resume goes on to its next wave
            rollout_.work.journal.write("held" if outcome.held else "stopped", reason=outcome.reason)
        if outcome.state != "paused" and outcome.settled and not outcome.held:
            rollout_.work.journal.write("finished", result=outcome.state)
    except FleetError as error:  # the verdict is shown all the same
        report.warn(f"{error.message}: {error.hint}")
    return outcome.state != "paused" and ended(roll, outcome)


def ended(roll: Rolling, outcome: Outcome) -> bool:
    """Tell that it is over; whether a required hook has something against that.

    That changes nothing any more, and the verdict is shown all the same.
    """
    try:
        roll.tell("rollout-ends", {"state": outcome.state, "reason": outcome.reason})
    except FleetError as error:
        report.warn(error.message)
        return True
    return False


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
    limits(session, options)
    return options


def limits(session: Session, options: Options) -> None:
    """Put what the command line says over each host's own settings."""
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
