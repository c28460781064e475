"""What a turn switches to: what the inventory wants now, or a release that lies on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from fleet import releases
from fleet.apply import take
from fleet.errors import CommandFailed, FleetError, HostError, Unreachable
from fleet.lock import HostLock
from fleet.provision import HostResult, Provision
from fleet.resource import Run
from fleet.resources.release import INSTANCES, unit_name
from fleet.shell import quote
from fleet.transport import Transport

Say = Callable[[str], None]
#: A script's status: nothing was to be done.
_AS_IT_MAY: Final = 64


class Switch(Protocol):
    """Brings a drained host to what it is to serve, and waits until that is healthy. Done twice, it does nothing."""

    @property
    def verb(self) -> releases.Verb:
        """What is written beside the release in the host's history."""

    def switch(self, host: str, transport: Transport, lock: HostLock, result: HostResult, say: Say) -> None:
        """Do it; what failed is in ``result``.

        Raises:
            HostError: it can't be done, or the host is gone.
        """


@dataclass(frozen=True)
class ToInventory:
    """All that waits for a rollout, and whatever else the host lacks: plan, apply, until nothing is left."""

    work: Provision
    verb: releases.Verb = "rollout"

    def switch(self, host: str, transport: Transport, lock: HostLock, result: HostResult, say: Say) -> None:
        """As provision does it, with leave to interrupt."""
        self.work.rounds(host, transport, lock, result)


@dataclass(frozen=True)
class ToReleases:
    """Releases that lie on their hosts: nothing is downloaded. ``targets`` is host → instance → release.

    ``deadlines`` is host → seconds that each release there may take to answer; else the size of its weights says it.
    """

    targets: Mapping[str, Mapping[str, str]]
    verb: releases.Verb = "rollback"
    deadlines: Mapping[str, float | None] = field(default_factory=dict)

    def switch(self, host: str, transport: Transport, lock: HostLock, result: HostResult, say: Say) -> None:
        """Instance after instance."""
        targets, deadline = self.targets.get(host, {}), self.deadlines.get(host)
        result.changed += len(bring_back(transport, targets, lock, say, deadline=deadline))


def bring_back(
    transport: Transport, targets: Mapping[str, str], lock: HostLock, say: Say, *, deadline: float | None = None
) -> list[str]:
    """Let each instance serve its release in ``targets`` (instance → release), and say which were switched.

    All that don't are stopped before the first is started: they may hold each other's GPUs and ports. ``deadline`` is
    how long each may take to answer, in seconds; without it the size of its weights says it.

    Raises:
        HostError: one of them isn't on the host, or doesn't get healthy; the others were tried first.
    """
    lock.check()
    wrong = {instance: release for instance, release in targets.items() if not serves(transport, instance, release)}
    switched: list[str] = []
    failed: list[FleetError] = []
    if len(wrong) > 1:
        for instance in wrong:
            say(f"instance {instance} is stopped")
            stop = (
                f"timeout 240 systemctl stop {unit_name(instance)} 2>/dev/null; :"  # one that was removed has no unit
            )
            take(transport, Run(stop, timeout=270, what=f"stop {unit_name(instance)}"), say)
    for instance, release in wrong.items():
        lock.check()
        say(f"instance {instance} to release {release}")
        try:
            patience = deadline or releases.patience(transport, instance, release)
            for step in releases.go_back(instance, release, patience=patience):
                take(transport, step, say)
            switched.append(instance)
        except Unreachable:
            raise
        except HostError as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return switched


def withdraw(transport: Transport, instances: Sequence[str], lock: HostLock, say: Say) -> None:
    """Stop instances that have no release to go back to; none of theirs is current or good any more.

    Raises:
        HostError: one still runs.
    """
    for instance in instances:
        lock.check()
        say(f"instance {instance} had no release before: it is stopped")
        unit = unit_name(instance)
        script = f"""{_stop(unit)}
rm -f {INSTANCES}/{instance}/current {INSTANCES}/{instance}/good"""
        take(transport, Run(script, timeout=270, what=f"stop {unit}"), say)


def stop_unjudged(transport: Transport, may: Mapping[str, str], say: Say) -> list[str]:
    """Stop each instance that runs (or would start) another release than it may in ``may``; say which were stopped.

    Raises:
        HostError: one can't be stopped; the others were.
    """
    stopped: list[str] = []
    failed: list[HostError] = []
    for instance, release in may.items():
        unit = unit_name(instance)
        name, shown = unit.removesuffix(".service"), '{{index .Config.Labels "fleet.release"}}'
        script = f"""r=$(timeout 20 docker inspect --format {quote(shown)} {name} 2>/dev/null) ||
  r=$(readlink {INSTANCES}/{instance}/current); r=${{r##*/}}
case $r in ''|{quote(release)}) exit {_AS_IT_MAY};; esac
{_stop(unit)}"""
        say(f"instance {instance}: does it run what it may?")
        try:
            take(transport, Run(script, timeout=300, what=f"stop {unit}"), say)
            stopped.append(instance)
        except CommandFailed as error:
            if error.status != _AS_IT_MAY:
                failed.append(error)
    if failed:
        raise failed[0]
    return stopped


def serves(transport: Transport, instance: str, release: str) -> bool:
    """Whether the instance runs this very release, and that was seen healthy.

    Raises:
        HostError: the host can't be asked.
    """
    unit = unit_name(instance)
    name, shown = unit.removesuffix(".service"), '{{.State.Running}} {{index .Config.Labels "fleet.release"}}'
    reply = transport.run(
        f"""cd {INSTANCES}/{instance} 2>/dev/null || exit 1
[ "$(readlink current)" = releases/{release} ] && [ "$(readlink good)" = releases/{release} ] || exit 1
[ "$(timeout 20 docker inspect --format {quote(shown)} {name} 2>/dev/null)" = 'true {release}' ] || exit 1
systemctl is-active --quiet {unit}""",
        timeout=60,
    )
    if reply.status == -1:  # taken for a no, it would restart what serves
        raise Unreachable(f"it didn't say whether {instance} serves", where=transport.name)
    return reply.ok


def current(known: Sequence[releases.Known]) -> dict[str, str]:
    """Instance → the release to come back to: what runs, where it was seen healthy; else the last one that was."""
    found: dict[str, str] = {}
    for release in known:
        if release.good:
            found[release.instance] = release.release
    return found


def _stop(unit: str) -> str:
    """The unit is stopped, and isn't started again at boot."""
    return f"""timeout 240 systemctl disable --now --quiet {unit}
case $(systemctl is-active {unit}) in active|activating|deactivating|reloading) exit 1;; esac"""
