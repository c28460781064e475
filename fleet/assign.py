"""Which GPUs each instance gets. Pure.

Explicit lists of indexes first, then counts in list order; what the host remembers (by GPU UUID) is kept where it
still fits, so that an edit of the inventory never moves a neighbour that serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.facts import Gpu
from fleet.settings import Instance


@dataclass(frozen=True)
class Assignment:
    """The GPUs of each instance, by its name, and what couldn't be given, in words."""

    gpus: Mapping[str, tuple[Gpu, ...]]
    problems: tuple[str, ...] = ()


def assign(instances: Sequence[Instance], gpus: Sequence[Gpu], remembered: Mapping[str, tuple[str, ...]]) -> Assignment:
    """Give ``gpus`` out to ``instances``; ``remembered`` is instance → UUIDs as the host last knew it."""
    by_index = {gpu.index: gpu for gpu in gpus}
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    given: dict[str, tuple[Gpu, ...]] = {}
    problems: list[str] = []
    taken: set[str] = set()

    def give(name: str, chosen: Sequence[Gpu]) -> None:
        given[name] = tuple(sorted(chosen, key=lambda gpu: gpu.index))
        taken.update(gpu.uuid for gpu in chosen)

    def owned(name: str) -> list[Gpu]:
        return [by_uuid[uuid] for uuid in dict.fromkeys(remembered.get(name, ())) if uuid in by_uuid]

    for instance in instances:
        if instance.gpus == "all":
            give(instance.name, gpus)
            if not gpus:
                problems.append(f"instance {instance.name!r} wants all GPUs, but the host shows none")
        elif isinstance(instance.gpus, tuple):
            missing = [index for index in instance.gpus if index not in by_index]
            if missing:
                problems.append(f"instance {instance.name!r} wants GPU {missing}, but the host has {len(gpus)}: 0 to "
                                f"{len(gpus) - 1}" if gpus else f"instance {instance.name!r} wants GPU {missing}, "
                                "but the host shows none")  # fmt: skip
            else:
                give(instance.name, [by_index[index] for index in instance.gpus])
    counted = [i for i in instances if isinstance(i.gpus, int)]
    kept: set[str] = set()
    for instance in counted:
        before = [gpu for gpu in owned(instance.name) if gpu.uuid not in taken]
        if isinstance(instance.gpus, int) and len(before) >= instance.gpus:
            give(instance.name, before[: instance.gpus])
            kept.add(instance.name)
    for instance in counted:
        if instance.name in kept:
            continue
        own = owned(instance.name)
        free = [gpu for gpu in [*own, *(gpu for gpu in gpus if gpu not in own)] if gpu.uuid not in taken]
        if isinstance(instance.gpus, int) and len(free) < instance.gpus:
            problems.append(
                f"instance {instance.name!r} wants {instance.gpus} GPUs, "
                f"but {len(free)} of the host's {len(gpus)} are free"
            )
        elif isinstance(instance.gpus, int):
            give(instance.name, free[: instance.gpus])
    return Assignment(given, tuple(problems))
