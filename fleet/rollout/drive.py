"""One host's turn, done: each step written down here and on the host, then taken, then judged.

What comes next stands in :mod:`fleet.rollout.turn`; here is only how each step is taken. A host that is gone for a
moment (a reboot, a cut line) is waited for, and its step is taken again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fleet import durations, releases
from fleet.apply import Failure, failure_of, transport_alive
from fleet.errors import CommandFailed, FleetError, HostError, Unreachable
from fleet.gateway.models import way_of
from fleet.lock import HostLock
from fleet.provision import HostResult
from fleet.rollout import gates, marker
from fleet.rollout.balancers import Lease
from fleet.rollout.examine import GateFailed, examine, remembered, seen_by_gateways, what_the_logs_say
from fleet.rollout.journal import JournalLost
from fleet.rollout.live import Live, live
from fleet.rollout.measure import in_flight, measure
from fleet.rollout.switching import bring_back, current, withdraw
from fleet.rollout.turn import DOING, ENDED, TOUCHING, At, after
from fleet.rollout.work import Work
from fleet.transport import Transport

#: Seconds for which a server that can't be asked is taken to be busy.
_DEAF: Final = 20.0
_FORWARD: Final = (At.DRAIN, At.IDLE, At.MEASURE, At.SWITCH, At.GATES)
#: The last gate that an old release must pass again before it is given requests.
OLD_MUST: Final = "text"


@dataclass
class Turn:
    """One host's way through its turn; ``before`` and ``measured`` are what an earlier, cut-off turn remembered."""

    name: str
    transport: Transport
    work: Work
    start: At = At.DRAIN
    back: bool = False
    touched: bool = False  #: an earlier try got as far as the switch: what is there isn't what was
    before: dict[str, str] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    result: HostResult = field(default_factory=HostResult)
    at: At = At.DRAIN
    names: tuple[str, ...] = ()
    lease: Lease | None = None
    deaf_since: float = 0.0
    began: float = 0.0  #: the host's clock when the switch began: what its log says before isn't the new release's

    def take(self) -> At:
        """All steps to an end; what failed on the way is in ``result``.

        Raises:
            FleetError: the run was ended by Ctrl-C, or somebody else is at work on the host. The turn stays open.
        """
        self.at = self.start
        self.limits = self.work.limits(self.name)
        with HostLock(self.transport, self.work.owner) as self.lock:
            try:
                known = self._known()
                self.before = self.before or ({} if self.touched else current(known))
                # Also what is staged and never served: a gateway that knows it would send it requests before its gates.
                self.names = tuple(sorted({r.instance for r in known} | set(self.before)))
                while not self.at.is_end:
                    ok = self._taken()
                    self.at = after(self.at, ok=ok, back=self.back, touched=self.touched)
                self._over()
            finally:
                if self.lease:
                    self.lease.stop()
                self.work.progress.finished(self.name)
        return self.at

    def _taken(self) -> bool:
        """One step; again, where the host was gone meanwhile and came back."""
        until = time.monotonic() + self.work.back_again
        while True:
            try:
                self.lock.check()
                self._write_down()
                self.work.progress.doing(self.name, DOING[self.at])
                _STEPS[self.at](self)
            except FleetError as error:
                if self.work.stopped.is_set():
                    raise
                gone = isinstance(error, Unreachable) and error.where in ("", self.name)
                if gone and time.monotonic() < until:
                    self.work.progress.detail(self.name, f"{error.message}; waiting for it to come back")
                    self.transport.drop()
                    time.sleep(2)
                    continue
                self._failed(error)
                return False
            else:
                return True

    def _write_down(self) -> None:
        self.touched = self.touched or self.at in TOUCHING
        told = {"at": self.at.value, "back": self.back, "before": self.before, "touched": self.touched}

        def step() -> None:
            self.work.journal.write("step", host=self.name, **told)

        for write in (step, self._mark):
            try:
                write()
            except (CommandFailed, JournalLost):  # a disk is full: a reason not to go forward, none not to give it back
                if self.at in _FORWARD:
                    raise

    def _record(self, event: str, **told: Any) -> None:
        """Into the journal, where it can be written: nothing that comes next hangs on it."""
        with contextlib.suppress(JournalLost):
            self.work.journal.write(event, host=self.name, **told)

    def _mark(self) -> None:
        who = self.work.owner.who
        told = marker.Marker(self.work.run, who, self.at, self.back, self.before, self.measured, self.touched)
        marker.write(self.transport, told)

    def _failed(self, error: FleetError) -> None:
        """Remember it for the verdict. A gate's lines come with it; else those that the instances' journals have."""
        self.result.failed = 1
        gate = f"gate {error.gate}" if isinstance(error, GateFailed) else self.at.value
        failure = failure_of(gate, error)
        hint = failure.hint or f"./inv status --hosts {self.name}; ./inv history --hosts {self.name}"
        self.result.failures.append(Failure(gate, failure.command, failure.stderr, hint, failure.message))
        self._record("failed", at=self.at.value, gate=gate, words=error.message)
        self.work.progress.say(self.name, f"{gate} failed: {error.message}")

    def _over(self) -> None:
        words = ENDED[self.at]
        if self.at.is_settled:
            marker.clear(self.transport)
        self._record("end", at=self.at.value, words=words)
        self.work.progress.say(self.name, words)

    # The steps. Each may be taken twice.

    def drain(self) -> None:
        """No gateway sends it anything new."""
        if self.work.balancers:
            who, seconds = f"{self.work.owner.who} {self.work.run}", self.work.drain_seconds
            self.work.balancers.drain(self._servers(), seconds=seconds, who=who)
            self.lease = self.lease or Lease(self.work.balancers, self._servers(), seconds=seconds, who=who)
            self.lease.start()

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
        """How the old release answers and how fast; what can't be asked isn't compared with later."""
        if self.measured:
            return
        for instance in self.before:
            try:
                old = live(self.transport, instance)
                if old.release != self.before[instance]:
                    continue  # a resume: what runs is already what is to be judged
                found = measure(self.transport, old, timeout=300)
            except HostError as error:
                self.work.progress.say(self.name, f"instance {instance} can't be measured: {error.message}")
                continue
            self.measured[instance] = remembered(old, found)
        self._mark()

    def switch(self) -> None:
        """Renew the drain, see that nothing came in between, and change what is to be changed."""
        self.drain()
        self.idle()
        self.began = self.began or float(self.transport.run("date +%s").stdout.strip() or 0)
        attempt = HostResult()
        self.work.switch.switch(self.name, self.transport, self.lock, attempt, self._say)
        if attempt.bad:
            if not transport_alive(self.transport):
                raise Unreachable("the connection broke while it was being switched", where=self.name)
            failure = attempt.failures[0] if attempt.failures else Failure("switch", "", "", "", "it failed")
            lines, causes = what_the_logs_say(self.transport, [r.instance for r in self._switched()], self.began)
            lines = lines or tuple(failure.stderr.splitlines())
            said = gates.Verdict(failure.resource, False, failure.message, 0.0, lines[-12:], causes)
            raise GateFailed(said, failure.message, where=self.name)
        self.result.changed += attempt.changed
        self.result.ok = attempt.ok
        self.result.waits = attempt.waits
        known = self._known()
        self.names = tuple(sorted({*self.names, *(r.instance for r in known)}))
        for release in known:
            before = self.before.get(release.instance, "")
            if release.current and release.release != before:
                self._note(self.work.switch.verb, release.instance, release.release, before)

    def gates(self) -> None:
        """Every instance as good as before; and each gateway sees it healthy."""
        for release in self._switched():
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
        failed = {r.instance: r.release for r in self._switched()}
        for instance in bring_back(self.transport, self.before, self.lock, self._say):
            self._note("put-back", instance, self.before[instance], failed.get(instance, ""))
        withdraw(self.transport, sorted(set(failed) - set(self.before)), self.lock, self._say)

    def check(self) -> None:
        """The old releases answer again."""
        for instance in self.before:
            self._pass(live(self.transport, instance), None, until=OLD_MUST)
        seen_by_gateways(self.work.balancers, self.name, self._ways())

    def _pass(self, new: Live, told: Mapping[str, Any] | None, *, until: str = "") -> None:
        def heard(verdict: gates.Verdict) -> None:
            self._record(
                "gate", instance=new.instance, release=new.release, gate=verdict.gate,
                passed=verdict.passed, words=verdict.words, seconds=round(verdict.seconds, 2),
            )  # fmt: skip
            if verdict.passed:
                self.work.progress.say(self.name, f"{new.instance}: {verdict.gate}: {verdict.words}")

        examine(self.transport, new, told, self.limits, heard, self._say, until=until)

    def _under_way(self) -> int:
        """Requests under way there: as the gateways count them, and as vLLM does.

        A server that can't be asked counts as busy at first (Docker may be away for a moment), then as gone.
        """
        count, deaf = self.work.balancers.sessions(self._servers()), False
        for release in self._switched():
            try:
                count += in_flight(self.transport, live(self.transport, release.instance))
            except Unreachable:
                raise
            except HostError:
                deaf = True
        self.deaf_since = (self.deaf_since or time.monotonic()) if deaf else 0.0
        return count + int(deaf and time.monotonic() - self.deaf_since < _DEAF)

    def _servers(self) -> list[str]:
        return [f"{self.name}:{instance}" for instance in self.names]

    def _ways(self) -> dict[str, str]:
        """Every server here → its way, as its current release has it."""
        address = self.work.address(self.name)
        return {f"{self.name}:{r.instance}": way_of(r.about, address) for r in self._switched()}

    def _switched(self) -> list[releases.Known]:
        return [release for release in self._known() if release.current]

    def _known(self) -> tuple[releases.Known, ...]:
        return releases.read(self.transport.run(releases.SCRIPT).stdout)

    def _note(self, verb: releases.Verb, instance: str, release: str, before: str) -> None:
        releases.note_switch(
            self.transport, instance, release, before=before,
            owner=self.work.owner, run=self.work.run, why=self.work.why, verb=verb,
        )  # fmt: skip

    def _say(self, text: str) -> None:
        self.work.progress.detail(self.name, text)


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
