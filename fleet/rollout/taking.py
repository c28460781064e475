"""A turn's way and its notes: each step is written down on both sides before it is taken, and again where need be.

A host that is gone for a moment (a reboot, a cut line) is waited for, and its step is taken again. How a step is
taken stands in :mod:`fleet.rollout.drive`, what comes next in :mod:`fleet.rollout.turn`.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fleet import releases
from fleet.apply import Failure, failure_of, take
from fleet.errors import CommandFailed, FleetError, HostError
from fleet.lock import HostLock
from fleet.provision import HostResult
from fleet.resources.serving import forget
from fleet.rollout import marker
from fleet.rollout.balancers import Lease
from fleet.rollout.examine import GateFailed
from fleet.rollout.journal import JournalLost
from fleet.rollout.lost import until_back
from fleet.rollout.switching import current, stop_unjudged
from fleet.rollout.turn import DOING, ENDED, TOUCHING, At, after
from fleet.rollout.work import Work
from fleet.transport import Transport

T = TypeVar("T")
_FORWARD: Final = (At.DRAIN, At.IDLE, At.MEASURE, At.SWITCH, At.GATES)


@dataclass
class Taking(ABC):
    """What is known of one host's turn; ``before`` and ``measured`` are what an earlier, cut-off turn remembered."""

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
                known = self._again(self.known)
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
        """One step; whether it went well."""
        try:
            self._again(self._step)
        except (FleetError, OSError) as error:  # OSError: this machine's own fault, as a full disk; the host goes back
            if self.work.stopped.is_set():
                raise
            self._failed(error if isinstance(error, FleetError) else HostError(f"on this machine: {error}"))
            return False
        return True

    def _again(self, what: Callable[[], T]) -> T:
        return until_back(what, self.transport, self.work.back_again, self.work.stopped, self.say)

    def _step(self) -> None:
        self.lock.check()
        self._write_down()
        self.work.progress.doing(self.name, DOING[self.at])
        self.do()

    def _write_down(self) -> None:
        self.touched = self.touched or self.at in TOUCHING
        told = {"at": self.at.value, "back": self.back, "before": self.before, "touched": self.touched}

        def step() -> None:
            self.work.journal.write("step", host=self.name, **told)

        for write in (step, self.mark):
            try:
                write()
            except (CommandFailed, JournalLost):  # a disk is full: a reason not to go forward, none not to give it back
                if self.at in _FORWARD:
                    raise

    def record(self, event: str, **told: Any) -> None:
        """Into the journal, where it can be written: nothing that comes next hangs on it."""
        with contextlib.suppress(JournalLost):
            self.work.journal.write(event, host=self.name, **told)

    def mark(self) -> None:
        """Onto the host."""
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
        self.record("failed", at=self.at.value, gate=gate, words=error.message)
        self.work.progress.say(self.name, f"{gate} failed: {error.message}")

    def _over(self) -> None:
        words = ENDED[self.at]
        if self.at is At.BROKEN:
            self._stop_unjudged()
        if self.at.is_settled:
            marker.clear(self.transport)
            with contextlib.suppress(HostError):  # the next turn that ends well does it
                take(self.transport, forget(), self.say)
        self.record("end", at=self.at.value, words=words)
        self.work.progress.say(self.name, words)

    def _stop_unjudged(self) -> None:
        """A drain has a term: what nobody judged must not be there to be let in when it ends."""
        try:
            self.lock.check()
            may = dict.fromkeys((*self.names, *(r.instance for r in self.known())), "") | self.before
            for instance in stop_unjudged(self.transport, may, self.say):
                self.work.progress.say(self.name, f"instance {instance} is stopped: it ran what nobody judged")
        except (FleetError, OSError) as error:
            words = f"what runs there can't be stopped, and gets requests when the drain's term ends: {error}"
            self.result.warnings.append(words)
            self.work.progress.say(self.name, words)

    @abstractmethod
    def do(self) -> None:
        """Take the step ``at``; twice is as good as once."""

    def switched(self) -> list[releases.Known]:
        """What is current now."""
        return [release for release in self.known() if release.current]

    def known(self) -> tuple[releases.Known, ...]:
        """All releases of the host, as it is now."""
        return releases.ask(self.transport)

    def say(self, text: str) -> None:
        """A step forward."""
        self.work.progress.detail(self.name, text)
