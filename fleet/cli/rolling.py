"""From an open session to a rollout that runs: who takes part, what serves now, preparation, what was cut off."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fleet import hooks, releases, report
from fleet.cli.session import Session
from fleet.errors import CommandFailed, FleetError, UsageError
from fleet.gateway.balancers import balancers
from fleet.provision import HostResult, Provision, provision
from fleet.rollout import marker
from fleet.rollout.balancers import Balancers
from fleet.rollout.journal import Journal
from fleet.rollout.names import refuse_lost
from fleet.rollout.options import Options
from fleet.rollout.run import Outcome, Rollout, Serving, Tell
from fleet.rollout.switching import Switch, ToInventory, ToReleases, serves
from fleet.rollout.turn import At
from fleet.rollout.waves import Member, Wave, plan_waves
from fleet.rollout.work import Work
from fleet.survey import Survey
from fleet.transport import Transport

Surveys = Mapping[str, Survey | FleetError]
#: What may wait on a gateway: no host's turn brings it about.
_AT_GATEWAYS: Final = {"gateway:config", "gateway:running"}


@dataclass
class Rolling:
    """One rollout of a session."""

    session: Session
    options: Options
    run: str
    why: str
    tell: Tell
    balancers: Balancers = field(init=False)

    def __post_init__(self) -> None:
        session = self.session
        self.balancers = Balancers(balancers(session.gateways, session.settings, session.crew.transport))
        if not self.balancers:
            report.warn("no gateway and no executables of yours: nothing is drained, requests under way are cut off")

    def prepare(self, surveys: Surveys) -> dict[str, HostResult]:
        """Everything that interrupts nothing, on all hosts and gateways, while the old releases serve.

        Where downtime is allowed, a gateway also gets what leaves a model without a server until hosts are switched.
        """
        work = Provision(self.session.survey, self.session.owner, self.run, self.session.progress)
        beside = [name for name in self.session.gateways if name not in surveys]
        everybody = {**self.session.survey_these(beside), **surveys}
        only = {n: s for n, s in everybody.items() if isinstance(s, Survey) and not s.target.settings.instances}
        results = provision(
            self.session.crew, only, dataclasses.replace(work, interrupt=self.options.allow_downtime)
        ) | provision(self.session.crew, {n: s for n, s in everybody.items() if n not in only}, work)
        return {name: results[name] for name in everybody if name in surveys or results[name].bad}

    def names_stay(self, targets: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Refuse what takes a name away that clients ask for; ``targets`` are releases that are gone back to.

        Raises:
            NoCapacity: no server would have a name all along that one has now.
            UsageError: a release has another name than the inventory, by which gateways send it requests.
        """
        everybody = {**self.session.others, **self.session.settings}
        wanted = {f"{host}:{i.name}": i.served_name for host, told in everybody.items() for i in told.instances}
        came = self.session.crew.each(self.session.names, lambda _, transport: releases.ask(transport))
        known = [(host, r) for host, found in came.items() if not isinstance(found, FleetError) for r in found]
        for host, release in known:
            there, inventory = str(release.about.get("served_name", "")), wanted.get(f"{host}:{release.instance}", "")
            back = (targets or {}).get(host, {}).get(release.instance) == release.release
            if self.balancers and back and there and inventory and there != inventory:
                raise UsageError(
                    f"release {release.number} of {release.instance} serves {there}, the inventory says {inventory}",
                    where=host, hint="set in the inventory what it had (served_name, model, …), and roll that out",
                )  # fmt: skip
        if not self.options.allow_downtime and not targets:
            serve = [(f"{host}:{r.instance}", str(r.about.get("served_name", ""))) for host, r in known if r.good]
            refuse_lost({server: name for server, name in serve if name}, wanted, self.session.names)

    def members(self, surveys: Surveys) -> list[Member]:
        """The hosts on which something waits, each with its class."""
        return [
            member_of(name, seen)
            for name, seen in surveys.items()
            if isinstance(seen, Survey) and not seen.plan.blocked and {c.id for c in seen.plan.waits} - _AT_GATEWAYS
        ]

    def serving(self) -> Serving:
        """Which hosts serve each model now: as the gateways see it.

        Without a gateway of ours, a host before which no balancer of this run stands counts as told. None in quarantine
        counts then: nobody sees whether it serves.
        """
        session, found = self.session, dict[str, dict[str, str]]()
        seen = self.balancers.serving() if self.balancers else {}
        for name, told in {**session.others, **session.settings}.items():
            if not session.gateways and name in session.quarantined:
                continue
            for instance in told.instances:
                if seen.get(f"{name}:{instance.name}", not session.gateways):
                    found.setdefault(instance.served_name, {})[name] = told.site
        return found

    def waves(self, members: Sequence[Member], *, proven: Collection[str] = ()) -> tuple[Wave, ...]:
        """All waves; classes in ``proven`` need no canary.

        Raises:
            NoCapacity: a model would be left without a server.
        """
        return plan_waves(
            members, self.serving(), batch=self.options.sizes, max_unavailable=self.options.most_unavailable,
            canaries=self.options.canaries, proven=proven, allow_downtime=self.options.allow_downtime,
        )  # fmt: skip

    @contextlib.contextmanager
    def under_way(self, members: Sequence[Member], switch: Switch) -> Iterator[Rollout]:
        """The rollout, its journal open."""
        with Journal(self.run) as journal:
            session = self.session
            work = Work(
                self.run, session.owner, self.why, switch, self.balancers, journal, session.progress,
                lambda name: session.settings[name].rollout, session.crew.stopped, self.address,
                drain_seconds=drain_seconds(session),
            )  # fmt: skip
            yield Rollout(session.crew, work, self.options, members, self.serving, self.tell)

    def to_inventory(self) -> Switch:
        """All that waits."""
        session = self.session
        return ToInventory(Provision(session.survey, session.owner, self.run, session.progress, interrupt=True))

    def to_releases(self, targets: Mapping[str, Mapping[str, str]]) -> Switch:
        """Releases that lie on the hosts, each with the time to answer that its host's settings give it."""
        told = self.session.settings
        return ToReleases(
            targets, deadlines={host: told[host].rollout.start_deadline for host in targets if host in told}
        )

    def address(self, name: str) -> str:
        """A host's own address on the fleet's network."""
        told = self.session.settings.get(name) or self.session.peers.get(name)
        return told.address if told else ""


def member_of(name: str, seen: Survey) -> Member:
    """A host with its class: its GPUs' kind and count, and its models."""
    kinds: dict[str, int] = {}
    for gpu in seen.target.facts.gpus:
        kinds[gpu.name] = kinds.get(gpu.name, 0) + 1
    gpus = ", ".join(f"{count}×{kind}" for kind, count in sorted(kinds.items()))
    told = seen.target.settings
    models = sorted(instance.served_name for instance in told.instances)
    return Member(name, f"{gpus} {', '.join(models)}".strip(), told.site, frozenset(models))


def proven(surveys: Surveys, ends: Mapping[str, At]) -> set[str]:
    """The classes that have a host which is done: how such a host takes the release is known."""
    seen = {name: surveys.get(name) for name, end in ends.items() if end is At.DONE}
    return {member_of(name, found).kind for name, found in seen.items() if isinstance(found, Survey)}


def drain_seconds(session: Session) -> float:
    """For how long a drain is kept where nobody renews it: the shortest said, by gateways and hosts behind others."""
    own = (told for told in session.settings.values() if told.gateway.own_balancer and told.instances)
    return float(min((told.gateway.drain_seconds for told in (*session.gateways.values(), *own)), default=600))


def nobody_else_is_at_it(session: Session, run: str) -> None:
    """Refuse hosts that another rollout left in the middle of their turn.

    Raises:
        UsageError: which, whose, and what to do.
    """
    found = session.crew.each(session.names, lambda _, transport: marker.read(transport))
    others = {name: told for name, told in found.items() if isinstance(told, marker.Marker) and told.run != run}
    if others:
        name, told = next(iter(others.items()))
        same = ",".join(host for host, other in others.items() if other.run == told.run)
        raise UsageError(
            f"{name} is in the middle of the rollout {told.run} of {told.who}", where=name,
            hint=f"./inv rollout.abort there, or here with --run {told.run} --hosts {same}",
        )  # fmt: skip


def document(run: str, outcome: Outcome, waves: Sequence[Wave]) -> dict[str, Any]:
    """What ``--json`` prints: CONTRACTS' object, and beside it how it ended."""
    return {
        "run": run,
        "state": outcome.state,
        "reason": outcome.reason,
        "waves": [{"name": wave.name, "hosts": list(wave.hosts), "canary": wave.canary} for wave in waves],
        "ends": {name: end.value for name, end in outcome.ends.items()},
        "hosts": {name: result.as_json() for name, result in outcome.results.items()},
    }


def targets(session: Session, number: int) -> tuple[dict[str, dict[str, str]], dict[str, HostResult]]:
    """Host → instance → the release to go back to: number ``number``, or the one before; and hosts that can't.

    Hosts that serve it already, or have no other, are in neither. One that is dead keeps no other from going back.

    Raises:
        FleetError: none can go back; why the first of them can't.
    """
    came = session.crew.each(session.names, lambda _, transport: _way_back(transport, number))
    found = {name: way for name, way in came.items() if not isinstance(way, FleetError) and way}
    failed: dict[str, HostResult] = {}
    not_seen(failed, came)
    if not found:
        raise next(
            (error for error in came.values() if isinstance(error, FleetError)),
            UsageError(
                f"no host has {f'release {number}' if number else 'an earlier release'} to go back to",
                hint="./inv releases shows what there is",
            ),
        )
    return found, failed


def not_seen(results: dict[str, HostResult], seen: Mapping[str, object]) -> None:
    """Add a failure for each host that couldn't be looked at, or must not be touched as it is."""
    for name, found in seen.items():
        if isinstance(found, FleetError):
            results.setdefault(name, HostResult()).fail("host", found)
        elif isinstance(found, Survey) and found.plan.blocked:
            first = next(problem for problem in found.plan.problems if problem.level == "error")
            results.setdefault(name, HostResult()).fail("host", UsageError(first.words, where=name, hint=first.hint))


def still(session: Session, told: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The hosts that don't serve their targets yet."""
    came = session.crew.each(
        [name for name in session.names if name in told],
        lambda name, transport: all(serves(transport, i, r) for i, r in told[name].items()),
    )
    return [name for name, there in came.items() if there is not True]


def teller(session: Session, run: str, why: str) -> Tell:
    """Tells the hooks of all that happens; what goes wrong with one is a warning, unless it is required.

    Raises:
        Findings: an executable or a template that isn't there; nothing was begun.
    """
    hooks.check(hooks.hooks_of(session.settings))

    def tell(event: str, about: Mapping[str, Any]) -> None:
        happened = hooks.Event.of(event, about, run=run, who=session.owner.who, why=why)
        told = hooks.hooks_of(session.settings, happened.host)
        for words in hooks.fire(told, happened, ca=session.lookups.ca):
            report.warn(words)

    return tell


def _way_back(transport: Transport, number: int) -> dict[str, str]:
    known = releases.ask(transport)
    found = {}
    for instance in dict.fromkeys(release.instance for release in known):
        now = next((release for release in known if release.instance == instance and release.current), None)
        back = releases.previous(known, instance)
        if number:
            back = releases.numbered(known, instance, number, where=transport.name)
        if back is None or back is now:
            continue
        found[instance] = back.release
        reply = transport.run(releases.still_there(instance, back.release))
        if not reply.ok:
            raise CommandFailed(
                f"release {back.number} of {instance} can't be gone back to: {reply.stdout.strip()}",
                command="docker image inspect", status=reply.status, where=transport.name,
                hint="put its settings into the inventory again and roll that out",
            )  # fmt: skip
    return found
