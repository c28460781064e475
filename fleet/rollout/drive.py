"""One host's turn, done: how each of its steps is taken.

Here is only how each step is taken: the notes and the waiting are :mod:`fleet.rollout.taking`'s, what comes next is
:mod:`fleet.rollout.turn`'s.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from fleet import durations, releases
from fleet.apply import Failure, take, transport_alive
from fleet.errors import FleetError, HostError, Unreachable
from fleet.gateway.models import way_of
from fleet.provision import HostResult
from fleet.resources.serving import lay_back
from fleet.rollout import gates
from fleet.rollout.balancers import Lease
from fleet.rollout.examine import GateFailed, examine, remembered, seen_by_gateways, what_the_logs_say
from fleet.rollout.live import Live, live
from fleet.rollout.lost import clock, is_lost
from fleet.rollout.measure import in_flight, measure
from fleet.rollout.switching import bring_back, withdraw
from fleet.rollout.taking import Taking
from fleet.rollout.turn import At

#: Seconds for which a server that can't be asked is taken to be busy.
_DEAF: Final = 20.0
#: The last gate that an old release must pass again before it is given requests.
OLD_MUST: Final = "text"


class Turn(Taking):
    """One host's way through its turn."""

    def do(self) -> None:
        """The step that the turn is at."""
        _STEPS[self.at](self)

    # The steps. Each may be taken twice.

    def drain(self) -> None:
        """No gateway sends it anything new."""
        if self.work.balancers:
            who, seconds = f"{self.work.owner.who} {self.work.run}", self.work.drain_seconds
            self.lease = self.lease or Lease(self.work.balancers, self._servers(), seconds=seconds, who=who)
            self.lease.start()  # also where one gateway can't be told: the drains of the others may not expire
            with self._without_who_is_away():
                self.work.balancers.drain(self._servers(), seconds=seconds, who=who)

    def idle(self) -> None:
        """Wait until the gateways have no request under way there, and vLLM itself neither runs nor holds one."""
        if not self.work.balancers:
            return  # requests would keep coming: there is nothing to wait for
        until = time.monotonic() + self.limits.drain_deadline
        while (left := self._under_way()) != 0:
            if time.monotonic() > until:
                late = durations.words(self.limits.drain_deadline)
                raise HostError(
                    f"{left} requests are still being answered after {late}", where=self.name,
                    hint="rollout.drain_deadline, or --drain-deadline, gives them longer",
                )  # fmt: skip
            self.work.progress.detail(self.name, f"{left} requests to go")
            time.sleep(0.5)

    def measure(self) -> None:
        """How the old release answers and how fast; then once more that nothing comes: measuring takes its time."""
        if not self.measured:
            self._measure()
        self.drain()
        self.idle()

    def _measure(self) -> None:
        """What can't be asked isn't compared with later."""
        for instance in self.before:
            try:
                old = live(self.transport, instance)
                if old.release != self.before[instance]:
                    continue  # a resume: what runs is already what is to be judged
                found = measure(self.transport, old, timeout=300)
            except HostError as error:
                if is_lost(error):
                    raise
                self.work.progress.say(self.name, f"instance {instance} can't be measured: {error.message}")
                continue
            self.measured[instance] = remembered(old, found)
        self.mark()

    def switch(self) -> None:
        """Change what is to be changed."""
        self.began = self.began or clock(self.transport)
        attempt = HostResult()
        self.work.switch.switch(self.name, self.transport, self.lock, attempt, self.say)
        if attempt.bad:
            if not transport_alive(self.transport):
                raise Unreachable("the connection broke while it was being switched", where=self.name)
            failure = attempt.failures[0] if attempt.failures else Failure("switch", "", "", "", "it failed")
            lines, causes = what_the_logs_say(self.transport, [r.instance for r in self.switched()], self.began)
            lines = lines or tuple(failure.stderr.splitlines())
            said = gates.Verdict(failure.resource, False, failure.message, 0.0, lines[-12:], causes)
            raise GateFailed(said, failure.message, where=self.name)
        self.result.changed += attempt.changed
        self.result.ok = attempt.ok
        self.result.waits = attempt.waits
        known = self.known()
        self.names = tuple(sorted({*self.names, *(r.instance for r in known)}))
        for release in known:
            before = self.before.get(release.instance, "")
            if release.current and release.release != before:
                self._note(self.work.switch.verb, release.instance, release.release, before)

    def gates(self) -> None:
        """Every instance as good as before; and each gateway sees it healthy."""
        for release in self.switched():
            self._pass(live(self.transport, release.instance), self.measured.get(release.instance))
        seen_by_gateways(self.work.balancers, self.name, self._ways())

    def admit(self) -> None:
        """Every gateway sends it requests again, with the key and at the address that its current release has."""
        if self.lease:
            self.lease.stop()
        self.work.balancers.ready(self._ways())

    def go_back(self) -> None:
        """To the releases that it had before; what had none is stopped: it may not stay, and has nothing to go to."""
        self.drain()
        for instance in self.before:  # one that the inventory no longer has
            take(self.transport, lay_back(instance), self.say)
        known = self.known()
        failed = {r.instance: r.release for r in known if r.current}
        there = self._still_there(known)
        # First what is to go: it may hold the GPUs and ports of what comes back.
        withdraw(self.transport, sorted(set(failed) - set(there)), self.lock, self.say)
        for instance in bring_back(self.transport, there, self.lock, self.say, deadline=self.limits.start_deadline):
            self._note("put-back", instance, there[instance], failed.get(instance, ""))

    def check(self) -> None:
        """The old releases answer again."""
        for instance in self._still_there(self.known()):
            self._pass(live(self.transport, instance), None, until=OLD_MUST)
        with self._without_who_is_away():
            seen_by_gateways(self.work.balancers, self.name, self._ways())

    def _still_there(self, known: Sequence[releases.Known]) -> dict[str, str]:
        """Of what was before, what can be gone back to; the rest is said."""
        lie = {(r.instance, r.release) for r in known}
        for gone in {*self.before.items()} - lie:
            words = "instance {} can't be put back: its release {} is no longer on the host".format(*gone)
            if words not in self.result.warnings:
                self.result.warnings.append(words)
                self.work.progress.say(self.name, words)
        return {instance: release for instance, release in self.before.items() if (instance, release) in lie}

    def _pass(self, new: Live, told: Mapping[str, Any] | None, *, until: str = "") -> None:
        def heard(verdict: gates.Verdict) -> None:
            self.record(
                "gate", instance=new.instance, release=new.release, gate=verdict.gate,
                passed=verdict.passed, words=verdict.words, seconds=round(verdict.seconds, 2),
            )  # fmt: skip
            if verdict.passed:
                self.work.progress.say(self.name, f"{new.instance}: {verdict.gate}: {verdict.words}")

        examine(self.transport, new, told, self.limits, heard, self.say, until=until)

    def _under_way(self) -> int:
        """Requests under way there: as the gateways count them, and as vLLM does.

        A server that can't be asked counts as busy at first (Docker may be away for a moment), then as gone.
        """
        count, deaf = 0, ""
        with self._without_who_is_away():  # then vLLM's own count decides
            count = self.work.balancers.sessions(self._servers())
        for release in self.switched():
            try:
                count += in_flight(self.transport, live(self.transport, release.instance))
            except HostError as error:
                if is_lost(error):
                    raise
                deaf = error.message
        self.deaf_since = (self.deaf_since or time.monotonic()) if deaf else 0.0
        if not deaf or time.monotonic() - self.deaf_since < _DEAF:
            return count + int(bool(deaf))
        words = f"its gateways alone said that no request is under way: {deaf}"
        if words not in self.result.warnings:
            self.result.warnings.append(words)
            self.work.progress.say(self.name, words)
        return count

    @contextlib.contextmanager
    def _without_who_is_away(self) -> Iterator[None]:
        """On the way back a gateway that stays away doesn't count: it may not keep a release here that failed."""
        try:
            yield
        except GateFailed:
            raise
        except FleetError as error:
            if self.work.stopped.is_set() or not (self.back or self.at in (At.GO_BACK, At.CHECK)):
                raise
            words = f"it goes back without asking {error.where or 'a gateway'}: {error.message}"
            if words not in self.result.warnings:
                self.result.warnings.append(words)
                self.work.progress.say(self.name, words)

    def _servers(self) -> list[str]:
        return [f"{self.name}:{instance}" for instance in self.names]

    def _ways(self) -> dict[str, str]:
        """Every server here → its way, as its current release has it."""
        address = self.work.address(self.name)
        return {f"{self.name}:{r.instance}": way_of(r.about, address) for r in self.switched()}

    def _note(self, verb: releases.Verb, instance: str, release: str, before: str) -> None:
        releases.note_switch(
            self.transport, instance, release, before=before,
            owner=self.work.owner, run=self.work.run, why=self.work.why, verb=verb,
        )  # fmt: skip


_STEPS: Final[Mapping[At, Callable[[Turn], None]]] = {
    At.DRAIN: Turn.drain,
    At.IDLE: Turn.idle,
    At.MEASURE: Turn.measure,
    At.SWITCH: Turn.switch,
    At.GATES: Turn.gates,
    At.ADMIT: Turn.admit,
    At.KEEP: Turn.admit,
    At.GO_BACK: Turn.go_back,
    At.CHECK: Turn.check,
    At.READMIT: Turn.admit,
}
