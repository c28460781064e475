"""One set of arguments, judged: by the parser, by the rules, by memory. :mod:`fleet.sizing.choose` finds others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fleet.sizing.activation import GIB
from fleet.sizing.answer import Answer, PerGpu, Reason, Request
from fleet.sizing.case import Case
from fleet.sizing.memory import Memory, divide
from fleet.sizing.model import Model
from fleet.sizing.options import check_args, find
from fleet.sizing.rules import apply
from fleet.sizing.settings import Arguments, Settings, resolve
from fleet.sizing.versions import neighbours

PARSER = "the parser of vllm serve, dumped from the released wheel"


def judge(request: Request, model: Model, args: Mapping[str, object]) -> Answer:
    """The answer for exactly these ``args``; without alternatives."""
    return evaluate(request, model, args, parser_reasons(request, args))


def parser_reasons(request: Request, args: Mapping[str, object]) -> tuple[Reason, ...]:
    """What the version's parser says to the arguments, as reasons."""
    said = [Reason("parser", "refuse", words, PARSER) for words in request.refused_words]
    for finding in check_args(request.version, args):
        level = "refuse" if finding.level == "refuse" else "warn"
        words = finding.words
        if finding.nearest and finding.nearest not in words:
            words += f" (nearest: {finding.nearest})"
        rule = "version" if not finding.option else "option"
        said.append(Reason(rule, "refuse" if level == "refuse" else "warn", words, PARSER))
    return tuple(said)


def evaluate(request: Request, model: Model, args: Mapping[str, object], said: Sequence[Reason] = ()) -> Answer:
    """Rules and memory for ``args`` whose form was looked at already (``said``)."""
    arguments = Arguments(canonical(request.version, args))
    settings = resolve(model, request.gpu, request.version, arguments, request.env)
    case = Case(
        model=model,
        gpu=request.gpu,
        count=request.count,
        args=arguments,
        settings=settings,
        env=request.env,
        host_memory_gib=request.host_memory_gib,
        driver=request.driver,
        cuda=request.cuda,
    )
    memory = divide(model, request.gpu, settings)
    reasons = [*said, *apply(case), *apply(with_memory(case, memory))]
    refused = any(reason.level == "refuse" for reason in reasons)
    return Answer(
        verdict="refused" if refused else "runs",
        vllm=request.version,
        engine=settings.engine,
        reasons=tuple(reasons),
        args=dict(args),
        env=dict(request.env),
        instances=0 if refused else request.count // settings.gpus,
        per_gpu=per_gpu(settings, memory),
        kv_bytes_per_token=memory.kv_bytes_per_token,
        kv_tokens=memory.kv_tokens,
        max_model_len=settings.max_model_len,
        concurrency=memory.kv_tokens / settings.max_model_len,
        parts=memory.weights.parts,
        layers=math.ceil(model.layers / settings.pp),
    )


def canonical(version: str, args: Mapping[str, object]) -> dict[str, object]:
    """The arguments under their long names, so that ``tensor_parallel_size`` and ``tp`` count as what they mean."""
    judge_version = neighbours(version).judge
    found: dict[str, object] = {}
    for name, value in args.items():
        option, off = find(judge_version, name)
        found[name if option is None or "." in name else option.name] = False if off is False else value
    return found


def with_memory(case: Case, memory: Memory) -> Case:
    """The same case once its memory was divided."""
    return Case(**{**vars(case), "memory": memory})


def per_gpu(settings: Settings, memory: Memory) -> PerGpu:
    """One GPU's memory in GiB."""
    return PerGpu(
        total_gib=memory.total / GIB,
        budget_gib=memory.budget / GIB,
        weights_gib=memory.weights.total / GIB,
        activation_gib=memory.peak.activation / GIB,
        non_torch_gib=memory.peak.non_torch / GIB,
        cuda_graph_gib=memory.graphs / GIB,
        kv_gib=memory.kv / GIB,
        headroom_gib=memory.headroom / GIB,
    )
