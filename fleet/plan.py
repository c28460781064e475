"""The difference between what is wanted and what is, as data. Pure.

A plan names every resource that would change, why, and what that would interrupt; beside each change stands a digest
of what is wanted (secrets by keyed hash), and for each host a fingerprint over all of it and of what was seen, so
that a plan which no longer fits is known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleet.errors import PlanError
from fleet.resource import KNOWN_AFTER_APPLY, Change, Observation, Problem, Resource, digest, follows

FORMAT: Final = 1


@dataclass(frozen=True)
class PlannedChange:
    """One change with the digest of what is wanted there."""

    change: Change
    digest: str

    @property
    def id(self) -> str:
        """The resource's id."""
        return self.change.id

    def as_json(self) -> dict[str, Any]:
        """The change's own object with its digest."""
        return {**self.change.as_json(), "digest": self.digest}


@dataclass(frozen=True)
class HostPlan:
    """One host: what provision does now, what waits for a rollout, what keeps it from being touched at all."""

    host: str
    changes: tuple[PlannedChange, ...] = ()
    waits: tuple[PlannedChange, ...] = ()
    problems: tuple[Problem, ...] = ()
    fingerprint: str = ""

    @property
    def blocked(self) -> bool:
        """Whether a problem of level ``error`` keeps this host untouched."""
        return any(problem.level == "error" for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """The host's object in a plan's JSON."""
        return {
            "fingerprint": self.fingerprint,
            "changes": [change.as_json() for change in self.changes],
            "waits_for_rollout": [change.as_json() for change in self.waits],
            "problems": [problem.as_json() for problem in self.problems],
        }


@dataclass(frozen=True)
class Plan:
    """The plans of all hosts, and hashes of what they were made from (inventory, roles, templates)."""

    hosts: Mapping[str, HostPlan]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """One hash over all hosts' fingerprints and the inputs."""
        parts = {name: plan.fingerprint for name, plan in self.hosts.items()}
        return _sha(json.dumps([parts, dict(self.inputs)], sort_keys=True))

    @property
    def empty(self) -> bool:
        """Whether nothing would change and nothing waits."""
        return not any(plan.changes or plan.waits for plan in self.hosts.values())

    def as_json(self) -> dict[str, Any]:
        """The document of ``plan --json`` and ``plan --out``."""
        return {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "inputs": dict(self.inputs),
            "hosts": {name: plan.as_json() for name, plan in self.hosts.items()},
        }


def plan_host(
    host: str,
    resources: Sequence[Resource],
    seen: Mapping[str, Observation],
    problems: Iterable[Problem],
    key: bytes,
) -> HostPlan:
    """Compare each resource with what was seen of it, in order.

    A change that would interrupt something waits for a rollout. A resource that follows one which changes is named too:
    whether it will have to change is known only after that. Equal inputs give an equal plan.
    """
    now: list[PlannedChange] = []
    waits: list[PlannedChange] = []
    for resource in resources:
        change = resource.diff(seen[resource.id])
        if change is None and (leaders := set(follows(resource)) & {planned.id for planned in now}):
            change = Change(resource.id, "update", f"{KNOWN_AFTER_APPLY}: follows {', '.join(sorted(leaders))}")
        if change is not None:
            planned = PlannedChange(change, digest([resource, seen[resource.id].text], key))
            (waits if change.interrupts else now).append(planned)
    found = tuple(problems)
    return HostPlan(host, tuple(now), tuple(waits), found, _fingerprint(now, waits))


def write(plan: Plan, path: Path) -> None:
    """Write the plan to a file (0600: diffs show settings), whole or not at all.

    Raises:
        PlanError: it can't be written there.
    """
    text = json.dumps(plan.as_json(), indent=2, ensure_ascii=False) + "\n"
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)  # what a killed run left may have another mode
        temporary.touch(mode=0o600, exist_ok=False)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise PlanError(
            f"can't be written: {error.strerror}", where=str(path), hint="name a file in a directory that is there"
        ) from error


def load(path: Path) -> Plan:
    """Read a plan back.

    Raises:
        PlanError: there is none, it is damaged, or it was changed by hand.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        hosts = {str(name): _host_plan(str(name), item) for name, item in data["hosts"].items()}
        plan = Plan(hosts, {str(k): str(v) for k, v in data["inputs"].items()})
        if data["format"] != FORMAT or data["fingerprint"] != plan.fingerprint:
            raise PlanError(
                "the plan was changed since it was made", where=str(path), hint="make a new one: plan --out"
            )
    except OSError as error:
        raise PlanError(
            f"can't be read: {error.strerror}", where=str(path), hint="make one: plan --out FILE"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanError(
            "this is no plan, or a damaged one", where=str(path), hint="make a new one: plan --out"
        ) from error
    return plan


def inputs_of(paths: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """A hash for each named group of files (``inventory``, ``roles``, ``templates``): names and bytes, in order."""
    hashes = {}
    for name, roots in paths.items():
        total = hashlib.sha256()
        for root in roots:
            files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
            for file in files:
                if "__pycache__" in file.parts or not file.is_file():
                    continue
                total.update(str(file.relative_to(root) if file != root else file.name).encode() + b"\0")
                total.update(hashlib.sha256(file.read_bytes()).digest())
        hashes[name] = total.hexdigest()
    return hashes


def _host_plan(name: str, item: Mapping[str, Any]) -> HostPlan:
    changes = tuple(_planned(change) for change in item["changes"])
    waits = tuple(_planned(change) for change in item["waits_for_rollout"])
    return HostPlan(
        name,
        changes,
        waits,
        tuple(Problem(p["words"], p["hint"], p["level"], p.get("kind", "host")) for p in item["problems"]),
        _fingerprint(changes, waits),  # worked out anew: a change added by hand makes it another plan
    )


def _planned(item: Mapping[str, Any]) -> PlannedChange:
    change = Change(item["id"], item["kind"], item["why"], item["diff"], tuple(item["interrupts"]))
    return PlannedChange(change, str(item["digest"]))


def _fingerprint(changes: Sequence[PlannedChange], waits: Sequence[PlannedChange]) -> str:
    return _sha(json.dumps([[planned.as_json() for planned in part] for part in (changes, waits)]))


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
