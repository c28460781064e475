"""Bring what waits to the hosts, one after another: stop, switch, start, verify; the first failure stops it all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fleet.apply import Failure
from fleet.crew import Crew
from fleet.errors import FleetError
from fleet.provision import HostResult, Provision
from fleet.survey import Survey

#: Whether all instances of a host really serve: what is wrong, in words; empty where nothing is.
Verifier = Callable[[str], Sequence[str]]


def rollout(
    crew: Crew, surveys: Mapping[str, Survey | FleetError], work: Provision, verify: Verifier
) -> dict[str, HostResult]:
    """Switch the hosts one at a time, in order; those behind the first failure stay as they are (``skipped``)."""
    work = replace(work, interrupt=True)
    results: dict[str, HostResult] = {}
    stopped_by = ""
    for name, seen in surveys.items():
        result = results[name] = HostResult()
        if stopped_by:
            result.skipped = len(seen.plan.waits) + len(seen.plan.changes) if isinstance(seen, Survey) else 0
            result.warnings.append(f"left as it was: {stopped_by} failed before its turn came")
            continue
        if isinstance(seen, FleetError):
            result.fail("host", seen)
        else:
            results[name] = _one(crew, name, seen, work, verify)
        if results[name].bad:
            stopped_by = name
    return results


def _one(crew: Crew, name: str, seen: Survey, work: Provision, verify: Verifier) -> HostResult:
    """One host's turn; a failure of any kind is in its result."""
    came = crew.each([name], lambda n, t: work.host(n, t, seen))[name]
    if isinstance(came, FleetError):
        result = HostResult()
        result.fail("host", came)
        return result
    if came.changed and not came.bad:
        work.progress.doing(name, "verifying")
        wrong = verify(name)
        work.progress.finished(name)
        if wrong:
            came.failed = 1
            hint = f"see ./inv verify --hosts {name}; the rollout stopped here, the hosts after it are untouched"
            came.failures.append(Failure("verify", "", "\n".join(wrong), hint, f"{len(wrong)} check(s) failed"))
    return came
