"""What sizing says of one instance on its GPUs: all that vLLM is to be told, why, and what can't be. Pure.

The same facts give the same answer: nothing that comes and goes on a host (free memory, load) is asked about, so that
a release made from it is the same release in every run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fleet.errors import CatalogError
from fleet.secret import Secret
from fleet.sizing import Answer, Gpu, Reason, Request, from_smi, size

if TYPE_CHECKING:
    from fleet import facts
    from fleet.settings import HostSettings, Instance
    from fleet.target import Manifest


@dataclass(frozen=True)
class Judgement:
    """``args`` is complete: what the instance says and what was chosen beside it (``chosen`` names that).

    ``reasons`` say why, and what to mind; ``refusals`` why it can't run. ``instead`` is then the nearest that can, as a
    line for the inventory (empty where nothing can). ``unjudged`` is why nothing could be said: the arguments are then
    the instance's own and the few that are always safe.
    """

    args: Mapping[str, Any]
    chosen: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    refusals: tuple[Reason, ...] = ()
    instead: str = ""
    unjudged: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """The reasons as lines for people, what to mind first."""
        minded = [f"! {reason.words} [{reason.rule}]" for reason in self.reasons if reason.level == "warn"]
        if self.unjudged:
            minded.append(f"! not sized: {self.unjudged}")
        return (*minded, *(f"{reason.words}" for reason in self.reasons if reason.level == "set"))


def judge(
    told: HostSettings, instance: Instance, gpus: Sequence[facts.Gpu], memory_kib: int, manifest: Manifest | None
) -> Judgement:
    """The judgement of ``instance`` on ``gpus`` of a host with so much memory; what its model is says ``manifest``."""
    try:
        request = question(told, instance, gpus, memory_kib, manifest)
        answer = size(request)
    except CatalogError as error:
        return Judgement(safe(instance, gpus), unjudged=error.message)
    if answer.verdict == "unknown":
        why = "; ".join(reason.words for reason in answer.reasons)
        return Judgement(safe(instance, gpus), unjudged=why)
    if answer.verdict == "refused":
        line = _line(request, answer.alternatives[0]) if answer.alternatives else ""
        return Judgement(safe(instance, gpus), refusals=answer.refusals, instead=line)
    said = {name.replace("_", "-") for name in instance.args}
    chosen = tuple(reason.rule.removeprefix("auto-") for reason in answer.reasons if reason.level == "set")
    args = {name: value for name, value in answer.args.items() if value is not None}
    return Judgement(args, tuple(name for name in chosen if name not in said), answer.reasons)


def question(
    told: HostSettings, instance: Instance, gpus: Sequence[facts.Gpu], memory_kib: int, manifest: Manifest | None
) -> Request:
    """The instance as a question to sizing: one server on all of ``gpus``, what it says itself kept.

    The model is what its own config.json says where that is at hand (``manifest``), else what the catalog has.

    Raises:
        CatalogError: a GPU that doesn't say what it can compute.
    """
    config = manifest.config if manifest else None
    return Request(
        model=instance.model if config is None else config,
        gpu=weakest(gpus),
        count=len(gpus),
        version=told.image.vllm or "",
        args=instance.args,
        env={name: _plain(value) for name, value in instance.env.items()},
        aim=instance.auto,
        auto=True,
        whole=True,
        preprocessor=manifest.preprocessor if manifest and config is not None else None,
        host_memory_gib=memory_kib / (1 << 20) or None,
        driver=gpus[0].driver or None,
        cuda=told.image.cuda,
        weight_bytes=manifest.weight_bytes if manifest else None,
    )


def weakest(gpus: Sequence[facts.Gpu]) -> Gpu:
    """What all of ``gpus`` can: where they differ, the least memory and the lowest compute capability count.

    Raises:
        CatalogError: one of them doesn't say what it can compute.
    """
    kinds = list(dict.fromkeys(from_smi(gpu.name, gpu.memory_mib, gpu.compute_capability) for gpu in gpus))
    least = min(kinds, key=lambda kind: kind.total_gib)
    lowest = min(kind.capability for kind in kinds)
    return least if least.capability == lowest else replace(least, capability=lowest, known=False)


def safe(instance: Instance, gpus: Sequence[facts.Gpu]) -> dict[str, Any]:
    """Where nothing is known of the model: all of the GPUs together, and half precision where bfloat16 can't be."""
    said = {name.replace("_", "-") for name in instance.args}
    found: dict[str, Any] = {}
    if len(gpus) > 1 and not said & {"tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"}:
        found["tensor-parallel-size"] = len(gpus)
    if "dtype" not in said and any(gpu.compute_capability.partition(".")[0] in ("6", "7") for gpu in gpus):
        found["dtype"] = "half"
    return {**found, **instance.args}


def _line(request: Request, instead: Answer) -> str:
    """An alternative as what to write under the instance in the inventory."""
    parts = []
    fewer = request.count // instead.instances if instead.instances > 1 else request.count
    if fewer != request.count:
        parts.append(f"gpus: {fewer}")
    parts.append(f"args: {_flow(instead.args)}")
    line = ", ".join(parts)
    dropped = sorted(set(request.env) - set(instead.env))
    if dropped:
        line += f", and no {' or '.join(dropped)} in env"
    if instead.instances > 1:
        line += f" ({instead.instances} such instances fit)"
    return line


def _flow(value: object) -> str:
    """A value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(str(key))}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in _YAML_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


#: Words that YAML 1.1 takes for something else than text.
_YAML_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


def _plain(value: object) -> str:
    """An environment variable's value as the container gets it; a secret's stays masked."""
    return str(value) if isinstance(value, Secret) else str(int(value) if isinstance(value, bool) else value)
