"""What runs where: pure judgement over a catalog of GPUs, models and vLLM versions. It knows no host and no network.

answer = size(Request("Qwen/Qwen2.5-VL-7B-Instruct", gpu("A10"), count=2))
answer.verdict, answer.args, answer.reasons
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleet.sizing import catalog
from fleet.sizing.activation import GIB
from fleet.sizing.answer import AIMS, Aim, Answer, PerGpu, Reason, Request
from fleet.sizing.choose import auto, nearest
from fleet.sizing.gpus import Gpu, from_smi, gpu
from fleet.sizing.judge import judge
from fleet.sizing.model import Model, UnknownArchitecture, load_model, read_model
from fleet.sizing.options import OptionFinding, check_args, render_args
from fleet.sizing.settings import Arguments
from fleet.sizing.versions import neighbours

__all__ = [
    "AIMS",
    "Aim",
    "Answer",
    "Gpu",
    "Model",
    "OptionFinding",
    "PerGpu",
    "Reason",
    "Request",
    "check_args",
    "from_smi",
    "gpu",
    "load_model",
    "read_model",
    "render_args",
    "size",
]


def size(request: Request) -> Answer:
    """The whole judgement: does it run, with what arguments, with how much room, and why.

    Without ``args`` (or with ``auto``) settings are chosen, and what was given is kept. Refused answers carry the
    nearest settings that run. Raises :class:`~fleet.errors.CatalogError` for a model that can't be read or isn't in the
    catalog; an unknown architecture, or a version older than all known, is an answer: ``unknown``.
    """
    given = request.args or {}
    if not neighbours(request.version).known:
        return _unknown(request, "version", f"vLLM {request.version} is older than all that is known here")
    try:
        model, notes = _model(request)
    except UnknownArchitecture as error:
        return _unknown(request, "architecture", error.message)
    if request.args is None or request.auto:
        answer = auto(request, model, given)
    else:
        answer = judge(request, model, given)
        if answer.verdict == "refused":
            answer = replace(answer, alternatives=nearest(request, model, given))
    return replace(answer, reasons=(*notes, *_between(request), *answer.reasons))


def _model(request: Request) -> tuple[Model, tuple[Reason, ...]]:
    if isinstance(request.model, Model):
        return request.model, ()
    if isinstance(request.model, Mapping):
        return read_model(request.model, preprocessor=request.preprocessor), ()
    entry = catalog.find(request.model)
    notes = (Reason("catalog", "warn", entry.note, "fleet/sizing/data/models.json"),) if entry.note else ()
    return catalog.model(entry.name), notes


def _between(request: Request) -> tuple[Reason, ...]:
    known = neighbours(request.version)
    if known.exact:
        return ()
    between = f"between {known.older} and {known.newer}" if known.newer else f"newer than {known.older}"
    words = f"vLLM {request.version} is {between}: options are judged by {known.judge}"
    return (Reason("version", "warn", words, "fleet/sizing/data/options.json"),)


def _unknown(request: Request, rule: str, words: str) -> Answer:
    """No number is guessed; weights come from the files' sizes where those are known."""
    arguments = Arguments(request.args or {})
    split = (arguments.number("tensor-parallel-size") or 1) * (arguments.number("pipeline-parallel-size") or 1)
    weights = request.weight_bytes / split / GIB if request.weight_bytes else None
    if weights is not None:
        words += ": weights from the sizes of the files, no estimate of the KV cache"
    return Answer(
        verdict="unknown",
        vllm=request.version,
        reasons=(Reason(rule, "warn", words, "fleet/sizing/data"),),
        args=dict(request.args or {}),
        env=dict(request.env),
        per_gpu=PerGpu(total_gib=request.gpu.total_gib, weights_gib=weights),
    )
