"""A rollout that pauses or was cut off: ended, or gone on with, from the truth on hosts and gateways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from invoke.exceptions import Exit

from fleet import quarantine, releases, report
from fleet.cli import rolling
from fleet.cli.program import confirm
from fleet.cli.rolling import Rolling, Surveys
from fleet.cli.rollout_run import begun_by, ended, finish, limits, rolling_of, through
from fleet.cli.session import Options as SessionOptions
from fleet.cli.session import Session, lock_directory, open_session
from fleet.errors import FleetError, UsageError
from fleet.gateway.models import way_of
from fleet.provision import HostResult
from fleet.rollout import journal, marker, verdict
from fleet.rollout.drive import Turn
from fleet.rollout.journal import Journal, Story
from fleet.rollout.options import Options
from fleet.rollout.run import Outcome, Rollout
from fleet.rollout.switching import Switch
from fleet.rollout.turn import TOUCHING, At, resumed
from fleet.rollout.waves import Member
from fleet.survey import Role, Survey

#: What of a journal's first line says what the rollout was, wherever it is taken up.
_BEGUN: Final = ("doing", "why", "options", "targets")


def take_up(run: str, roles: Sequence[Role], *, abort: bool, json: bool, yes: bool) -> None:
    """Go on with a rollout that pauses or was cut off, or end it; one whose abort isn't over is ended.

    Raises:
        UsageError: there is none, or it is over, or somebody else was at it meanwhile.
    """
    path = journal.find(run)
    story = _open(path.parent.name, journal.read(path))
    if story.aborting and not abort:
        abort = True
        report.warn(f"the rollout {story.run} is being ended already: hosts in the middle go back, no others follow")
    if not json:
        report.result(verdict.standing(story))
    confirm("End it, and take hosts in the middle back?" if abort else "Go on with it?", yes=yes)
    options = Options.from_json(story.begun.get("options", {}))
    where = story.begun.get("where", {})
    given = SessionOptions(
        where.get("hosts", "all"), tuple(where.get("inventory", ())), where.get("limit", ""), json,
        int(where.get("forks", 50)), float(where.get("timeout", 10.0)),
    )  # fmt: skip
    with open_session(given, roles, doing="rollout.abort" if abort else "rollout.resume") as session:
        limits(session, options)
        roll = rolling_of(session, options, story.run, story.begun.get("why", ""))
        targets = story.begun.get("targets")
        switch: Switch = roll.to_releases(targets) if targets else roll.to_inventory()
        with roll.under_way((), switch) as rollout_:
            now = rollout_.work.journal.story()
            if now != story:  # while somebody thought about the answer
                raise UsageError(f"the rollout {run} went on meanwhile", hint="see ./inv rollout.watch --once")
            promoting = story.state == "paused" and not abort
            if promoting:  # a required hook may have something against it: then it still pauses
                left = [host for host in story.begun.get("members", ()) if host not in story.ends]
                roll.tell("promotion", {"hosts": left, "done": sorted(story.ends)})
            rollout_.work.journal.write("resumed", who=session.owner.who, abort=abort)
            outcome = settle(roll, rollout_, story, abort=abort)
            stopped = [str(line.get("reason", "")) for line in journal.lines(path) if line["event"] == "stopped"]
            behind = _left_behind(session, outcome) if abort else []
            outcome.left = frozenset(behind)
            if abort or stopped or not outcome.settled:
                outcome.state, outcome.reason = _how(outcome, abort=abort, stopped="".join(stopped[-1:]))
                if behind:
                    again = f"./inv rollout.abort --run {story.run} --hosts {','.join(behind)}"
                    outcome.reason += f"; left in the middle: {', '.join(behind)}; {again} once it can be reached"
                if outcome.settled:
                    rollout_.work.journal.write("aborted" if abort else "finished", result=outcome.state)
                refused = ended(roll, outcome)
            else:
                refused = _go_on(roll, rollout_, story, outcome, promoting=promoting)
        finish(session, outcome, (), json=json)
        if refused:
            raise Exit(code=1)


def _go_on(roll: Rolling, rollout_: Rollout, story: Story, outcome: Outcome, *, promoting: bool) -> bool:
    """The waves that are left, for hosts with which it began; whether a required hook had something against its end."""
    session, targets = roll.session, story.begun.get("targets")
    surveys = session.survey_all()
    began = [host for host in story.begun.get("members", session.names) if host in session.names]
    away = quarantine.current(lock_directory(session.options))
    waiting = _waiting(roll, surveys, targets)
    # One that was put back was judged: trying it again is for a rollout that somebody begins.
    judged = {host for host, end in outcome.ends.items() if end is At.REVERTED}
    members = [m for m in waiting if m.host in began and m.host not in away and m.host not in judged]
    for host in began:
        if host in away and host not in outcome.ends:
            outcome.results[host] = HostResult(skipped=1, warnings=[f"left as it was: {away[host]}"])
    hosts = {member.host for member in members}
    rolling.not_seen(outcome.results, {h: surveys.get(h) for h in began if h not in away and h not in outcome.ends})
    if members and not targets:
        prepared = roll.prepare({host: surveys[host] for host in hosts if host in surveys})
        outcome.results.update({host: result for host, result in prepared.items() if result.bad})
    bad = [host for host, result in outcome.results.items() if result.bad and host not in outcome.ends]
    allowed = roll.options.failures_allowed(len(began))
    if len(bad) > allowed:
        outcome.state, outcome.held = "stopped", True
        outcome.reason = (
            f"{', '.join(bad)} can't be seen or prepared, and at most {allowed} may fail: nobody else was begun; "
            "./inv rollout.resume tries again"
        )
        rollout_.work.journal.write("held", reason=outcome.reason)
        return ended(roll, outcome)
    if not targets:
        roll.names_stay()
    # A host that is done and on which something waits again was judged with something else.
    proven = rolling.proven(surveys, {h: end for h, end in outcome.ends.items() if h not in {m.host for m in waiting}})
    rollout_.members = [member for member in members if member.host not in bad]
    waves = roll.waves(rollout_.members, proven=proven)
    if promoting:
        rollout_.work.journal.write("promoted", who=session.owner.who)
    return through(roll, rollout_, waves, outcome, canaries=story.canaries, promoted=promoting or story.past_canaries)


def _waiting(roll: Rolling, surveys: Surveys, targets: Mapping[str, Mapping[str, str]] | None) -> list[Member]:
    if not targets:
        return roll.members(surveys)
    left = rolling.still(roll.session, targets)
    return [rolling.member_of(n, s) for n, s in surveys.items() if n in left and isinstance(s, Survey)]


def _open(run: str, story: Story) -> Story:
    if not story.begun:
        raise UsageError(f"the rollout {run} was never begun: no host was touched", hint="./inv rollout begins one")
    if story.closed:
        raise UsageError(f"the rollout {story.run} is over", hint="./inv rollout begins a new one")
    return story


def settle(roll: Rolling, rollout_: Rollout, story: Story, *, abort: bool) -> Outcome:
    """Take up every turn that was cut off, from the truth on hosts and gateways."""
    session = roll.session
    outcome = Outcome(ends=dict(story.ends), results={host: HostResult() for host in story.ends})
    markers = session.crew.each(session.names, lambda _, transport: marker.read(transport))
    turns = []
    for name in dict.fromkeys([*session.names, *story.unsettled]):
        found = markers.get(name, _gone(name, story.run))
        if isinstance(found, FleetError):
            if name in story.unsettled:
                outcome.results[name] = HostResult()
                outcome.results[name].fail("host", found)
                outcome.ends[name] = At.BROKEN
            continue
        mine = found is not None and found.run == story.run
        if name not in story.unsettled and not mine:
            continue
        # The journal was written first; only where another machine was at work does the host alone know.
        last = story.steps[name] if name in story.unsettled or found is None else found.at
        touched, back = name in story.touched, name in story.back
        if found is not None and mine:
            touched, back = touched or found.touched or found.at in TOUCHING, back or found.back
        start, back = resumed(last, abort=abort, back=back, touched=touched)
        turn = Turn(name, session.crew.transport(name), rollout_.work, start=start, back=back, touched=touched)
        turn.before = dict(story.before.get(name, {}))
        if found is not None and mine:
            turn.before, turn.measured = dict(found.before), dict(found.measured)
        turns.append(turn)
    rollout_.settle(turns, outcome)
    _reconcile(roll, {*(turn.name for turn in turns), *story.unsettled})
    return outcome


def _gone(name: str, run: str) -> FleetError:
    return UsageError(
        "it is in the middle of this rollout, and the inventory or the pattern doesn't have it any more", where=name,
        hint=f"give it its place back, or with an inventory that has it: rollout.abort --run {run} --hosts {name}",
    )  # fmt: skip


def _reconcile(roll: Rolling, but: set[str]) -> None:
    """Whatever this rollout drained at a gateway and nobody is at work on any more gets requests again."""
    try:
        states = roll.balancers.states()
    except FleetError as error:  # its own timer does it, and hosts whose turns are over are what counts
        report.warn(f"{error.where}: {error.message}: drains that are left there end by themselves")
        return
    drained = {
        server
        for told in states.values()
        for server, state in told.items()
        if state.admin != "ready" and state.who.endswith(roll.run)
    }
    for name in sorted({server.partition(":")[0] for server in drained} & set(roll.session.names) - but):
        try:
            known = releases.ask(roll.session.crew.transport(name))
            ways = {f"{name}:{r.instance}": way_of(r.about, roll.address(name)) for r in known if r.current}
            roll.balancers.ready({server: way for server, way in ways.items() if server in drained})
        except FleetError as error:
            report.warn(f"{name}: {error.message}: the gateways' own timer puts it back in")


def _left_behind(session: Session, outcome: Outcome) -> list[str]:
    """Hosts that hold an abort open no longer: in quarantine, or no longer in the inventory. Their mark stays there."""
    away = quarantine.current(lock_directory(session.options))
    return [h for h, end in outcome.ends.items() if not end.is_settled and (h in away or h not in session.names)]


def _how(outcome: Outcome, *, abort: bool, stopped: str) -> tuple[str, str]:
    if not outcome.settled:
        again = "./inv rollout.abort" if abort else "./inv rollout.resume"
        which = ", ".join(outcome.unsettled)
        gone = "; of one that is gone for good, ./inv quarantine lets go" if abort else ""
        return "open", f"{which} can't be settled yet; {again} tries again{gone}"
    if abort:
        return "aborted", "hosts that are done keep the new release: ./inv rollback takes it back"
    return "stopped", f"it had stopped before ({stopped}); every host that had begun serves one of its releases"


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
        begun: dict[str, Any] = begun_by(given, Options(), "", "rollout")
        if before and before.begun:  # what it was is known here: a rollback stays one
            begun = {key: told for key, told in before.begun.items() if key in _BEGUN} | {"where": begun["where"]}
        with Journal(run) as book:
            book.write("begin", who=who, members=sorted(found), **begun)
            for name, told in found.items():
                book.write(
                    "step", host=name, at=told.at.value, back=told.back, before=told.before, touched=told.touched
                )
            others = "its other hosts are known there alone, and ./inv rollout brings what still waits"
            book.write("stopped", reason=f"taken over from {who}: {others}")
