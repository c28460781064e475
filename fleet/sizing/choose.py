"""Settings that run: chosen from nothing (``auto``) under an aim, or nearest to what was asked and can't run.

Both are one search. A plan splits the GPUs (tensor × pipeline parallel); for each plan the arguments are relieved step
by step until they run, then every relief that turns out not to be needed is taken back. What the user gave is kept by
``auto``; only alternatives touch it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fleet.sizing.answer import Answer, Reason, Request
from fleet.sizing.judge import canonical, evaluate, parser_reasons
from fleet.sizing.model import Model
from fleet.sizing.relief import Args, fit, with_context
from fleet.sizing.repair import repaired
from fleet.sizing.settings import Arguments, has

LEAST_AIR_GIB = 0.25
USUAL_CONTEXT = 32768  # tokens that are aimed at where nobody says how many
COMFORTABLE = 4  # requests of the full context at once that a throughput plan should hold
AUTO = "fleet.sizing.choose"


@dataclass(frozen=True)
class Plan:
    """One way to split the GPUs."""

    tp: int
    pp: int

    @property
    def gpus(self) -> int:
        """GPUs of one server."""
        return self.tp * self.pp

    def args(self) -> dict[str, object]:
        """The plan as arguments; 1 is the default and stays unsaid."""
        found: dict[str, object] = {}
        if self.tp > 1:
            found["tensor-parallel-size"] = self.tp
        if self.pp > 1:
            found["pipeline-parallel-size"] = self.pp
        return found


def plans(count: int, layers: int) -> list[Plan]:
    """Every split of up to ``count`` GPUs, fewest GPUs first, without pipeline stages before with."""
    widths = [width for width in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32) if width <= count]
    found = [Plan(tp, pp) for tp in widths for pp in widths if tp * pp <= count and pp <= layers]
    return sorted(found, key=lambda plan: (plan.gpus, plan.pp))


def auto(request: Request, model: Model, given: Args) -> Answer:
    """The best settings under the request's aim, with ``given`` kept; the other plans as alternatives."""
    said = parser_reasons(request, given)
    if any(reason.level == "refuse" for reason in said):
        refused = evaluate(request, model, given, said)
        return replace(refused, alternatives=nearest(request, model, given))
    base = comfortable(request, model, given)
    keep = kept(request, given)
    found: list[tuple[Plan, Answer]] = []
    for plan in _plans_for(request, model, given):
        if found and plan.pp > 1 and found[0][0].pp == 1:
            break  # stages only where no split of the matrices runs
        answer = fit(request, model, {**base, **plan.args()}, keep=keep)
        if answer is not None:
            found.append((plan, with_air(request, model, answer, given)))
            if request.aim == "throughput" and _comfortable(answer):
                break  # fewest GPUs a server: more servers
    if not found:
        refused = evaluate(request, model, {**base, **Plan(1, 1).args()}, said)
        return replace(refused, alternatives=nearest(request, model, given))
    found.sort(key=lambda pair: _merit(request, *pair))
    best = explain(request, model, found[0][1], given)
    return replace(best, reasons=(*said, *best.reasons), alternatives=tuple(answer for _, answer in found[1:4]))


def kept(request: Request, given: Args) -> frozenset[str]:
    """The options that are given, by their long names; of a dotted one (``limit-mm-per-prompt.image``) the whole."""
    return frozenset(name.partition(".")[0] for name in canonical(request.version, given))


def with_air(request: Request, model: Model, answer: Answer, given: Args) -> Answer:
    """The answer with a smaller share of the memory where CUDA graphs would find too little beside it."""
    free, total = answer.per_gpu.headroom_gib or 0.0, answer.per_gpu.total_gib or 0.0
    share = (answer.per_gpu.budget_gib or 0.0) / total if total else 0.0
    if free >= LEAST_AIR_GIB or "gpu-memory-utilization" in canonical(request.version, given):
        return answer
    lower = math.floor((share - (LEAST_AIR_GIB - free) / total) * 100) / 100
    again = with_context(request, model, {**answer.args, "gpu-memory-utilization": lower}, kept(request, given))
    return again if lower > 0 and again is not None else answer


def nearest(request: Request, model: Model, asked: Args, most: int = 3) -> tuple[Answer, ...]:
    """Settings that run, nearest to ``asked`` first: the same split relieved, then other splits; fp8 at last."""
    fixed, env = repaired(request, model, asked)
    request = replace(request, env=env, refused_words=())
    wanted = Arguments(fixed)
    tp, pp = wanted.number("tensor-parallel-size") or 1, wanted.number("pipeline-parallel-size") or 1
    base = {k: v for k, v in fixed.items() if k not in ("tensor-parallel-size", "pipeline-parallel-size")}
    order = sorted(
        plans(request.count, model.layers),
        key=lambda plan: ((plan.tp, plan.pp) != (tp, pp), plan.pp != pp, abs(plan.gpus - tp * pp), plan.gpus),
    )
    found: list[Answer] = []
    for extra in _last_resorts(request, model, base):
        for plan in order:
            if _splits(request, model, {**base, **extra}, plan):
                answer = fit(request, model, {**base, **extra, **plan.args()}, keep=frozenset())
                if answer is not None:
                    found.append(answer)
            if len(found) >= most:
                return tuple(found)
        if found:
            break
    return tuple(found)


def _last_resorts(request: Request, model: Model, base: Args) -> Iterator[dict[str, object]]:
    """Nothing more; then weights quantised while loading, where the GPU can."""
    yield {}
    if model.quantization is None and "quantization" not in base and request.gpu.sm >= 80:
        yield {"quantization": "fp8"}


def comfortable(request: Request, model: Model, given: Args) -> dict[str, object]:
    """What auto starts from: what was given, half where bfloat16 isn't there, a sensible context, batch and media."""
    base = dict(canonical(request.version, given))
    if request.gpu.sm < 80 and model.dtype == "bfloat16" and "dtype" not in base:
        base["dtype"] = "half"
    stored = model.quantization
    if stored and stored.method in ("awq", "gptq") and request.gpu.sm < 80 and "dtype" not in base:
        base["dtype"] = "half"
    if "max-model-len" not in base:
        base["max-model-len"] = (
            model.max_positions if request.aim == "context" else min(USUAL_CONTEXT, model.max_positions)
        )
    if "max-num-seqs" not in base:
        base["max-num-seqs"] = {"throughput": 256, "latency": 64, "context": 16}[request.aim]
    tokens = Arguments(base).number("max-num-batched-tokens")
    seqs = Arguments(base).number("max-num-seqs") or 256
    if tokens and tokens < seqs and "max-num-seqs" not in kept(request, given):
        base["max-num-seqs"] = tokens
    if (
        model.vision
        and "limit-mm-per-prompt" not in base
        and not any(k.startswith("limit-mm-per-prompt.") for k in base)
    ):
        base["limit-mm-per-prompt"] = {"image": 4, "video": 0}
    swaps = not has(request.version, "v1-only") and "swap-space" not in base
    if request.host_memory_gib and swaps and 4 * request.count > 0.4 * request.host_memory_gib:
        base["swap-space"] = 0
    return base


def explain(request: Request, model: Model, answer: Answer, given: Args) -> Answer:
    """The answer with a reason for each argument that was set here."""
    usual = answer.args.get("max-model-len") == min(USUAL_CONTEXT, model.max_positions) and request.aim != "context"
    split = "as many GPUs as the model divides over"
    if request.whole:
        split = "all of its GPUs, or as many as the model divides over"
    elif request.aim == "throughput":
        split = "the fewest GPUs that hold the model and its context comfortably"
    why = {
        "dtype": f"{request.gpu.name} has no bfloat16, or the kernel takes float16 only",
        "tensor-parallel-size": split,
        "pipeline-parallel-size": "the layers divide where the matrices can't",
        "max-model-len": f"enough for most work, of the {model.max_positions} that the model can"
        if usual
        else f"what the KV cache holds, of the {model.max_positions} that the model can",
        "max-num-seqs": "the sampler is profiled with as many rows; fewer leave more for the KV cache",
        "limit-mm-per-prompt": "profiling reckons with the largest item allowed; video costs most",
        "mm-processor-kwargs": "smaller images cost less in the vision tower and in the context",
        "enforce-eager": "CUDA graphs wouldn't fit beside the rest",
        "gpu-memory-utilization": "as much as the CUDA graphs leave, or the KV cache needs",
        "max-num-batched-tokens": "fewer tokens a step need less for activations",
        "swap-space": "vLLM refuses more than 70 % of the host's memory, and V1 never uses it",
        "quantization": "16-bit weights don't fit; fp8 while loading does",
    }
    before = canonical(request.version, given)
    made = [
        Reason(f"auto-{name}", "set", f"{name} {_shown(value)}: {why.get(name, 'chosen')}", AUTO)
        for name, value in answer.args.items()
        if before.get(name) != value
    ]
    return replace(answer, reasons=(*answer.reasons, *made))


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{k}={v}" for k, v in value.items())
    return "on" if value is True else str(value)


def _plans_for(request: Request, model: Model, given: Args) -> list[Plan]:
    """The plans that agree with what was given and split the model at all."""
    wanted = Arguments(canonical(request.version, given))
    tp, pp = wanted.number("tensor-parallel-size"), wanted.number("pipeline-parallel-size")
    if tp or pp:
        return [Plan(tp or 1, pp or 1)]
    fitting = [plan for plan in plans(request.count, model.layers) if _splits(request, model, given, plan)]
    if request.whole:
        full = [plan for plan in fitting if plan.gpus == request.count]
        if not full:  # the model doesn't divide over all of them: over as many as it does
            return sorted(fitting, key=lambda plan: (plan.pp > 1, -plan.gpus))
        fitting = full
    return sorted(fitting, key=lambda plan: (plan.pp > 1, request.count % plan.gpus > 0, plan.gpus))


def _splits(request: Request, model: Model, args: Args, plan: Plan) -> bool:
    """Whether nothing but memory speaks against the plan."""
    answer = evaluate(request, model, {**args, **plan.args()})
    split = {"gpus", "heads", "kv-heads", "vit-mlp", "mlp", "layers", "q-align"}
    return not any(reason.rule in split for reason in answer.refusals)


def _comfortable(answer: Answer) -> bool:
    eager = answer.args.get("enforce-eager") is True
    return (answer.concurrency or 0) >= COMFORTABLE and (answer.max_model_len or 0) >= 8192 and not eager


def _merit(request: Request, plan: Plan, answer: Answer) -> tuple[float, ...]:
    """What sorts plans under the aim, best first."""
    context = answer.max_model_len or 0
    tokens = (answer.kv_tokens or 0) * answer.instances
    stages = float(plan.pp > 1)
    if request.aim == "context":
        return (-context, stages, plan.gpus)
    if request.aim == "latency":
        return (stages, -min(context, 8192), -plan.gpus)
    return (float(not _comfortable(answer)), stages, -min(context, 8192), -tokens)
