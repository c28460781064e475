"""Who goes when: canaries one after another, then waves of growing size, each leaving capacity behind. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fleet.counts import Count
from fleet.errors import UsageError


@dataclass(frozen=True)
class Member:
    """A host that takes part. ``kind`` is its class (GPU kind and count, models): one canary each."""

    host: str
    kind: str
    site: str = ""
    models: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Wave:
    """Hosts that go side by side; canaries go one by one, and nothing follows a canary that failed."""

    name: str
    hosts: tuple[str, ...]
    canary: bool = False


class NoCapacity(UsageError):
    """A model would be left without a server."""


def plan_waves(
    members: Sequence[Member],
    serving: Mapping[str, Mapping[str, str]],
    *,
    batch: Sequence[Count],
    max_unavailable: Count,
    canaries: bool = True,
    proven: Collection[str] = (),
    allow_downtime: bool = False,
) -> tuple[Wave, ...]:
    """All waves, each host in exactly one.

    ``serving`` is model → host → site of all hosts that serve it now, members or not. While a wave is under way, each
    model keeps at least one of them, and so does each site that has several; ``allow_downtime`` gives that up. Classes
    in ``proven`` have a host that is well already, and need no canary.

    Raises:
        NoCapacity: a model has no other host than one of the members.
    """
    if not allow_downtime:
        _refuse_downtime(members, serving)
    waves: list[Wave] = []
    left = list(members)
    if canaries:
        for kind in dict.fromkeys(member.kind for member in members if member.kind not in proven):
            first = next(member for member in left if member.kind == kind)
            left.remove(first)
            waves.append(Wave(f"canary {len(waves) + 1}", (first.host,), canary=True))
    number = 0
    while left:
        size = batch[min(number, len(batch) - 1)].of(len(members))
        most = max(1, min(size, max_unavailable.of(len(members))))
        wave = _one_wave(_by_turns(left), most, serving, allow_downtime=allow_downtime)
        left = [member for member in left if member not in wave]
        number += 1
        waves.append(Wave(f"wave {number}", tuple(member.host for member in wave)))
    return tuple(waves)


def _refuse_downtime(members: Sequence[Member], serving: Mapping[str, Mapping[str, str]]) -> None:
    alone = {
        model: member.host
        for member in members
        for model in sorted(member.models)
        if set(serving.get(model, {})) == {member.host}
    }
    if alone:
        words = "; ".join(f"{model} is served by {host} alone" for model, host in sorted(alone.items()))
        raise NoCapacity(
            f"a model would be left without capacity: {words}", where="rollout",
            hint="--allow-downtime does it all the same; or let another host serve it first",
        )  # fmt: skip


def _by_turns(members: Sequence[Member]) -> list[Member]:
    """One of each site after another, so that no wave falls on one site alone."""
    queues: dict[str, list[Member]] = {}
    for member in members:
        queues.setdefault(member.site, []).append(member)
    ordered: list[Member] = []
    while any(queues.values()):
        ordered.extend(queue.pop(0) for queue in queues.values() if queue)
    return ordered


def _one_wave(
    candidates: Sequence[Member], most: int, serving: Mapping[str, Mapping[str, str]], *, allow_downtime: bool
) -> list[Member]:
    taken: list[Member] = []
    for member in candidates:
        if len(taken) == most:
            break
        away = {other.host for other in taken} | {member.host}
        if not taken or allow_downtime or all(_keeps(serving.get(m, {}), away, member) for m in member.models):
            taken.append(member)
    return taken


def _keeps(hosts: Mapping[str, str], away: Collection[str], member: Member) -> bool:
    """Whether a model keeps a server, and at this member's site too where that has several."""
    if member.host not in hosts:
        return True  # it doesn't serve now: nothing is lost
    there = {host for host, site in hosts.items() if site == member.site}
    return bool(set(hosts) - set(away)) and (len(there) < 2 or bool(there - set(away)))
