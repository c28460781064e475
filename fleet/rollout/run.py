"""A rollout over its hosts: wave after wave, until all are done, one too many fails, or it is to pause."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fleet.crew import Crew
from fleet.errors import FleetError
from fleet.provision import HostResult
from fleet.rollout.drive import Turn
from fleet.rollout.journal import JournalLost
from fleet.rollout.options import Options
from fleet.rollout.turn import At
from fleet.rollout.waves import Member, Wave
from fleet.rollout.work import Work

#: Model → host → site of all that serve now.
Serving = Mapping[str, Mapping[str, str]]
#: Told of what happens: the event's name and what belongs to it.
Tell = Callable[[str, Mapping[str, Any]], None]
#: Seconds that hosts which are away have to come back before the next wave can't begin.
_AWAY: Final = 60.0


@dataclass
class Outcome:
    """What came of it: ``state`` is done, stopped or paused; ``reason`` is why it isn't done."""

    results: dict[str, HostResult] = field(default_factory=dict)
    ends: dict[str, At] = field(default_factory=dict)
    state: str = "done"
    reason: str = ""
    held: bool = False  #: a required hook refused the next wave: the rollout stays open, for a resume or an abort

    left: frozenset[str] = frozenset()  #: hosts in the middle that somebody gave up: nothing waits for them

    @property
    def unsettled(self) -> list[str]:
        """Hosts that were begun and don't serve one of their releases yet, or get no requests."""
        return sorted(host for host, end in self.ends.items() if not end.is_settled and host not in self.left)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do for any host that was begun."""
        return not self.unsettled

    def is_well(self, host: str) -> bool:
        """Whether the host serves the new release, and nothing went wrong on the way there."""
        return self.ends.get(host) is At.DONE and not (host in self.results and self.results[host].bad)


@dataclass
class Rollout:
    """The waves of one rollout, driven. ``serving`` looks at the fleet as it is now."""

    crew: Crew
    work: Work
    options: Options
    members: Sequence[Member]
    serving: Callable[[], Serving]
    tell: Tell = lambda event, about: None

    def go(
        self, waves: Sequence[Wave], outcome: Outcome, *, canaries: Collection[str] = (), promoted: bool = False
    ) -> Outcome:
        """All waves, in order, as long as nothing speaks against the next one.

        What was there before in ``outcome`` (from before a resume) counts; ``canaries`` are those hosts of it that were
        some, ``promoted`` says that it needn't pause after them any more.
        """
        tried = set(canaries)
        reason, canaries_over = self._enough(outcome, tried), bool(canaries) and not promoted
        for wave in waves:
            if reason:
                break
            if self.options.pause and canaries_over and not wave.canary:
                return self._paused(outcome)
            canaries_over = wave.canary
            reason = self._no_room(wave)
            if not reason and (refused := self._refused(wave)):
                reason, outcome.held = refused, True
            if reason := reason or self._not_written(wave):
                break
            self._wave(wave, outcome)
            tried.update(wave.hosts if wave.canary else ())
            reason = self._enough(outcome, tried)
        if reason:
            outcome.state, outcome.reason = "stopped", reason
        self._left_alone(waves, outcome)
        return outcome

    def settle(self, turns: Sequence[Turn], outcome: Outcome) -> None:
        """Take up turns that were cut off."""
        by_name = {turn.name: turn for turn in turns}
        came = self.crew.each(by_name, lambda name, _: self._taken(by_name[name]))
        self._keep(came, by_name, outcome, cut_off=At.BROKEN)

    def _wave(self, wave: Wave, outcome: Outcome) -> None:
        self.work.progress.say(wave.name, ", ".join(wave.hosts))
        turns = {name: Turn(name, self.crew.transport(name), self.work) for name in wave.hosts}
        self._keep(self.crew.each(wave.hosts, lambda name, _: self._turn(turns[name])), turns, outcome, cut_off=At.KEPT)
        ends = {name: outcome.ends[name].value for name in wave.hosts if name in outcome.ends}
        self.tell("wave-ends", {"wave": wave.name, "hosts": list(wave.hosts), "ends": ends})

    def _turn(self, turn: Turn) -> At:
        self.tell("host-begins", {"host": turn.name})
        return self._taken(turn)

    def _taken(self, turn: Turn) -> At:
        end = turn.take()
        self.tell("host-ends", {"host": turn.name, "end": end.value})
        if end is not At.DONE:
            failure = turn.result.failures[0].as_json() if turn.result.failures else {}
            self.tell("failure", {"host": turn.name, "end": end.value, **failure})
        return end

    def _keep(
        self, came: Mapping[str, At | FleetError], turns: Mapping[str, Turn], outcome: Outcome, *, cut_off: At
    ) -> None:
        for name, end in came.items():
            result = outcome.results[name] = turns[name].result
            if isinstance(end, FleetError):  # never begun (a lock, no way in), or cut off: its turn is open
                result.fail("host", end)
                story = self.work.journal.story()  # its turn may have ended well, and a required hook said no then
                outcome.ends[name] = story.ends.get(name, At.BROKEN if name in story.steps else cut_off)
            else:
                outcome.ends[name] = end

    def _enough(self, outcome: Outcome, canaries: Collection[str]) -> str:
        """Why nobody else's turn may come after what there was; empty where it may."""
        bad = [host for host in outcome.ends if not outcome.is_well(host)]
        if failed := [host for host in bad if host in canaries]:
            return f"the canary {failed[0]} failed: nobody else's turn comes"
        allowed = self.options.failures_allowed(len({member.host for member in self.members} | outcome.ends.keys()))
        words = f"{bad[0]} failed" if len(bad) == 1 else f"{len(bad)} hosts failed: {', '.join(bad[:5])}"
        return f"{words}; at most {allowed} may" if len(bad) > allowed else ""

    def _not_written(self, wave: Wave) -> str:
        """Begin the wave in the journal; why that can't be done."""
        try:
            self.work.journal.write("wave", name=wave.name, hosts=list(wave.hosts), canary=wave.canary)
        except JournalLost as error:
            return f"{error.message}; {error.hint}"
        return ""

    def _no_room(self, wave: Wave) -> str:
        """Why this wave can't begin now; empty where it can. Hosts that are away get a moment to come back."""
        until = time.monotonic() + _AWAY
        while reason := self._lacks(wave):
            if time.monotonic() > until:
                return reason
            self.work.progress.detail(wave.name, f"waiting: {reason}")
            time.sleep(1)
        return ""

    def _refused(self, wave: Wave) -> str:
        """What a required hook has against this wave."""
        try:
            self.tell("wave-begins", {"wave": wave.name, "hosts": list(wave.hosts)})
        except FleetError as error:
            return "; ".join(words for words in (error.message, error.hint) if words)
        return ""

    def _lacks(self, wave: Wave) -> str:
        if self.options.allow_downtime:
            return ""
        try:
            serving = self.serving()
        except FleetError as error:
            return f"what serves can't be seen: {error.where}: {error.message}"
        here = set(wave.hosts)
        for model in sorted({m for member in self.members if member.host in here for m in member.models}):
            hosts = set(serving.get(model, ()))
            if hosts & here and not hosts - here:
                return f"no other host serves {model} now"
        up = {host for hosts in serving.values() for host in hosts}
        away = sorted({member.host for member in self.members} - up - here)
        most = self.options.most_unavailable.of(len(self.members))
        if away and len(away) + len(here & up) > most:
            return f"{', '.join(away[:5])} not in service already, --max-unavailable is {most}"
        return ""

    def _paused(self, outcome: Outcome) -> Outcome:
        outcome.state, outcome.reason = "paused", "the canaries are well; ./inv rollout.promote goes on"
        self.work.journal.write("paused")
        self.tell("paused", {"hosts": sorted(outcome.ends)})
        return outcome

    def _left_alone(self, waves: Sequence[Wave], outcome: Outcome) -> None:
        for host in (host for wave in waves for host in wave.hosts if host not in outcome.results):
            result = outcome.results[host] = HostResult(skipped=1)
            result.warnings.append(f"left as it was: {outcome.reason or outcome.state}")
