"""Prepare hosts: plan, lock, apply, until nothing is left that may be done without interrupting what serves.

A round is a survey (two commands) and the changes it found. What could only be known after a change (GPUs after the
driver, an image after Docker) is found by the next round; a host where the first round finds nothing costs that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fleet import jobs, releases
from fleet.apply import Failure, apply_host, failure_of
from fleet.crew import Crew
from fleet.errors import AuthError, CommandFailed, FleetError, HostKeyError, Unreachable
from fleet.lock import HostLock, Owner
from fleet.plan import HostPlan
from fleet.progress import Progress
from fleet.resource import KNOWN_AFTER_APPLY
from fleet.resources import Current
from fleet.survey import Survey
from fleet.transport import Transport

#: Rounds after which a host that still finds something to do is reported rather than changed for ever.
MOST_ROUNDS: Final = 8
Surveyor = Callable[[str, Transport], Survey]


@dataclass
class HostResult:
    """What came of one host, as Ansible's recap counts it."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def bad(self) -> bool:
        """Whether this host failed or couldn't be reached."""
        return bool(self.failed or self.unreachable)

    def fail(self, resource: str, error: FleetError) -> None:
        """Count an error: unreachable where there was no way in, failed otherwise."""
        if isinstance(error, (Unreachable, HostKeyError, AuthError)):
            self.unreachable += 1
        else:
            self.failed += 1
        self.failures.append(failure_of(resource, error))

    def as_json(self) -> dict[str, Any]:
        """The host's object in the JSON of provision and rollout."""
        return {
            "ok": self.ok,
            "changed": self.changed,
            "failed": self.failed,
            "unreachable": self.unreachable,
            "skipped": self.skipped,
            "failures": [failure.as_json() for failure in self.failures],
            "waits_for_rollout": self.waits,
        }


@dataclass(frozen=True)
class Provision:
    """How to go about it: who looks, who does it, under which name, with a plan file what may be done.

    ``interrupt`` makes a rollout of it: what waits is done as well. ``why`` goes into the history of switches.
    """

    survey: Surveyor
    owner: Owner
    run_name: str
    progress: Progress
    exactly: Mapping[str, HostPlan] | None = None
    interrupt: bool = False
    why: str = "as the inventory has it"

    def host(self, name: str, transport: Transport, first: Survey) -> HostResult:
        """Bring one host to its plan; ``first`` is what was seen before anybody said yes."""
        result = HostResult(waits=[change.id for change in first.plan.waits])
        result.warnings = [problem.words for problem in first.plan.problems if problem.level == "warning"]
        if first.plan.blocked:
            result.failed = 1
            result.failures = [
                Failure("preflight", "", "", p.hint, p.words) for p in first.plan.problems if p.level == "error"
            ]
            return result
        if refused := self._refused(name, first.plan):
            result.failed = 1
            result.failures = [refused]
            return result
        if not self._wanted(first) and not first.target.facts.jobs:
            result.ok = len(first.resources) - len(first.plan.waits)
            result.skipped = len(first.plan.waits)
            return result
        try:
            with HostLock(transport, self.owner) as lock:
                self.rounds(name, transport, lock, result)
        except FleetError as error:
            result.fail("host", error)
        finally:
            self.progress.finished(name)
        return result

    def rounds(self, name: str, transport: Transport, lock: HostLock, result: HostResult) -> None:
        """All rounds, under a lock that is held; what came of them is added to ``result``.

        Raises:
            FleetError: the host is gone, or can't be looked at.
        """
        current = self.survey(name, transport)  # what was seen before is looked at again under the lock
        if current.target.facts.jobs:
            self._follow_all(name, transport, current.target.facts.jobs)
            current = self.survey(name, transport)
        transport.run(jobs.SWEEP)
        if refused := self._refused(name, current.plan):
            result.failed = 1
            result.failures = [refused]
            return
        changed: set[str] = set()
        before: list[str] = []
        for _ in range(MOST_ROUNDS):
            wanted = self._wanted(current)
            beyond = self._beyond(name, current.plan)
            if beyond:
                words = f"not in the plan: {', '.join(beyond)}"
                result.failed = 1
                result.failures.append(Failure(beyond[0], "", "", "make a new plan", words))
                break
            if current.plan.blocked:
                result.failed = 1
                errors = [p for p in current.plan.problems if p.level == "error"]
                result.failures.extend(Failure("preflight", "", "", p.hint, p.words) for p in errors)
                break
            if not wanted:
                break
            applied = apply_host(
                transport,
                current.resources,
                wanted,
                owner=self.owner,
                run_name=self.run_name,
                say=lambda text: self.progress.doing(name, text),
                detail=lambda text: self.progress.detail(name, text),
                check=lock.check,
                interrupt=self.interrupt,
            )
            changed.update(applied.changed)
            self._note_switches(transport, current, applied.changed)
            if applied.failure:
                result.failed = 1
                result.failures.append(applied.failure)
                break
            if not applied.changed and wanted == before:  # what is left is pending on what waits, or on nothing
                if not current.plan.waits:
                    words = f"can't be worked out even now: {', '.join(wanted[:3])}"
                    result.failed = 1
                    result.failures.append(Failure(wanted[0], "", "", "see `plan` for what it waits for", words))
                break
            before = wanted
            current = self.survey(name, transport)
        else:
            if left := self._wanted(current):
                words = f"still something to do after {MOST_ROUNDS} rounds: {', '.join(left[:3])}"
                result.failed = 1
                hint = "something on the host may change it back each time; see the run's log"
                result.failures.append(Failure(left[0], "", "", hint, words))
        result.waits = [change.id for change in current.plan.waits]
        result.changed = len(changed)
        result.skipped = len(result.waits)
        open_ = {change.id for change in (*current.plan.changes, *current.plan.waits)}
        result.ok = sum(1 for resource in current.resources if resource.id not in open_ and resource.id not in changed)

    def _note_switches(self, transport: Transport, seen: Survey, changed: Sequence[str]) -> None:
        """Write down which instances were brought to another release; a unit that was only mended is none."""
        switched = {planned.id for planned in (*seen.plan.changes, *seen.plan.waits) if planned.change.kind == "switch"}
        for resource in seen.resources:
            if isinstance(resource, Current) and resource.id in switched.intersection(changed):
                releases.note_switch(
                    transport, resource.instance, resource.release, owner=self.owner, run=self.run_name, why=self.why,
                    verb="rollout" if self.interrupt else "provision",
                )  # fmt: skip

    def _follow_all(self, name: str, transport: Transport, units: Sequence[str]) -> None:
        """Go on with what an earlier run left at work; how it ended is seen by the survey that comes after."""
        for unit in units:
            short = unit.removeprefix(jobs.PREFIX).removesuffix(".service")
            self.progress.doing(name, f"following {short}, which is still at work there")
            try:
                jobs.follow(transport, short, short, lambda text: self.progress.detail(name, text))
            except CommandFailed as error:  # its work is begun again if need be
                self.progress.say(name, f"{short}: {error.message}")

    def _beyond(self, name: str, plan: HostPlan) -> list[str]:
        """What the plan file doesn't have: a resource, or another action than it names."""
        if self.exactly is None:
            return []
        allowed = {planned.id: planned.change for planned in self.exactly[name].changes}
        return [
            planned.id
            for planned in plan.changes
            if planned.id not in allowed
            or (
                planned.change.kind != allowed[planned.id].kind
                and KNOWN_AFTER_APPLY not in allowed[planned.id].why + planned.change.why
            )
        ]

    def _wanted(self, seen: Survey) -> list[str]:
        """What may be done now, in the resources' order."""
        planned = {change.id for change in (*seen.plan.changes, *(seen.plan.waits if self.interrupt else ()))}
        return [resource.id for resource in seen.resources if resource.id in planned]

    def _refused(self, name: str, plan: HostPlan) -> Failure | None:
        if self.exactly is None:
            return None
        if name not in self.exactly:
            return Failure("plan", "", "", "make a plan that has this host", "this host isn't in the plan")
        if self.exactly[name].fingerprint != plan.fingerprint:
            return Failure(
                "plan", "", "", "make a new plan and look at it",
                "this host, or what is wanted of it, has changed since the plan was made",
            )  # fmt: skip
        return None


def provision(crew: Crew, surveys: Mapping[str, Survey | FleetError], work: Provision) -> dict[str, HostResult]:
    """Bring all hosts to their plans; each host's result, in order. One host's failure stops that host alone."""
    results: dict[str, HostResult] = {}
    ready: dict[str, Survey] = {}
    for name, seen in surveys.items():
        if isinstance(seen, FleetError):
            results[name] = HostResult()
            results[name].fail("host", seen)
        else:
            ready[name] = seen
    for name, came in crew.each(ready, lambda n, t: work.host(n, t, ready[n])).items():
        if isinstance(came, FleetError):
            results[name] = HostResult()
            results[name].fail("host", came)
        else:
            results[name] = came
    return {name: results[name] for name in surveys}
