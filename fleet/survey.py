"""Look at one host: facts, then everything its roles want, in two commands. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fleet import facts as facts_module
from fleet.apply import look
from fleet.errors import CommandFailed, Findings, FleetError, InputError, SettingsError
from fleet.facts import Facts
from fleet.plan import HostPlan, plan_host
from fleet.resource import Problem, Resource
from fleet.settings import HostSettings
from fleet.target import Manifest, Target
from fleet.transport import Transport


class Role(Protocol):
    """What a module under roles/ offers."""

    def resources(self, target: Target) -> Iterator[Resource]:
        """What ``target`` must be, in order."""

    def problems(self, target: Target) -> Iterator[Problem]:
        """What keeps ``target`` from it."""


@dataclass(frozen=True)
class Lookups:
    """What was looked up once for all hosts: image digests, model manifests, the mirrors' CA.

    ``image_sizes`` is image reference → bytes as they travel; ``failures`` is host → what could not be found for it.
    ``gateways`` are the hosts that are one, ``peers`` all hosts with instances where there is one.
    """

    digests: Mapping[str, str]
    manifests: Mapping[tuple[str, str], Manifest]
    ca: str = ""
    image_sizes: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, FleetError] = field(default_factory=dict)
    peers: Mapping[str, HostSettings] = field(default_factory=dict)
    gateways: Collection[str] = ()


@dataclass(frozen=True)
class Survey:
    """One host as it was seen: what the roles want there, and how far it is from it."""

    target: Target
    resources: tuple[Resource, ...]
    plan: HostPlan


def wrong_input(surveys: Mapping[str, Survey | FleetError]) -> InputError | None:
    """What is asked of hosts and can't be, as their facts told: wrong input for the whole run."""
    found = [
        SettingsError(problem.words, where=name, hint=problem.hint)
        for name, seen in surveys.items()
        if isinstance(seen, Survey)
        for problem in seen.plan.problems
        if problem.level == "error" and problem.kind == "input"
    ]
    return None if not found else found[0] if len(found) == 1 else Findings(found)


def gather(transport: Transport) -> Facts:
    """The host's facts, in one command.

    Raises:
        HostError: no connection, or an answer that isn't whole.
    """
    reply = transport.run(facts_module.SCRIPT, timeout=120)
    try:
        return facts_module.read(reply.stdout, now=time.time())
    except ValueError as error:
        raise CommandFailed(
            str(error), command="(facts)", status=reply.status, stderr=reply.stderr[-1000:], where=transport.name,
            hint="is /bin/sh a POSIX shell there, and does the login run commands?",
        ) from error  # fmt: skip


def survey(
    transport: Transport,
    settings: HostSettings,
    lookups: Lookups,
    roles: Sequence[Role],
    key: bytes,
    *,
    allow_docker_restart: bool = False,
) -> Survey:
    """Ask a host for its facts and for the state of all that its roles want; compare.

    Raises:
        FleetError: the host can't be asked, or something that it needs could not be looked up.
    """
    if transport.name in lookups.failures:
        raise lookups.failures[transport.name]
    target = Target(
        transport.name,
        settings,
        gather(transport),
        lookups.digests,
        lookups.manifests,
        lookups.ca,
        allow_docker_restart,
        lookups.image_sizes,
        lookups.peers,
        transport.name in lookups.gateways,
    )
    problems = tuple(problem for role in roles for problem in role.problems(target))
    resources = tuple(resource for role in roles for resource in role.resources(target))
    plan = plan_host(transport.name, resources, look(transport, resources), problems, key)
    return Survey(target, resources, plan)
