"""Arguments that don't run, relieved as little as it takes; the context cut to what the KV cache holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fleet.sizing.answer import Answer, Request
from fleet.sizing.judge import canonical, evaluate
from fleet.sizing.model import Model
from fleet.sizing.settings import Arguments

Args = Mapping[str, object]
#: No shorter context is offered than this, in tokens.
LEAST_CONTEXT = 256
CONTEXTS = (32768, 16384, 8192, 4096, 2048, 1024, LEAST_CONTEXT)


def fit(request: Request, model: Model, args: Args, keep: frozenset[str]) -> Answer | None:
    """``args`` as they are if they run, else relieved as little as it takes; None where nothing helps.

    Options in ``keep`` aren't touched.
    """
    steps = [step for step in reliefs(request, model, args) if not keep & step.keys()]
    taken: list[Mapping[str, object]] = []
    for step in [dict[str, object](), *steps]:
        if step:
            taken.append(step)
        answer = with_context(request, model, _merged(args, taken), keep)
        if answer is not None:
            break
    else:
        return None
    for step in list(taken[:-1]):
        fewer = [other for other in taken if other is not step]
        again = with_context(request, model, _merged(args, fewer), keep)
        if again is not None and (again.max_model_len or 0) >= (answer.max_model_len or 0):
            taken, answer = fewer, again
    return answer


def reliefs(request: Request, model: Model, args: Args) -> Iterator[Mapping[str, object]]:
    """What to give up, cheapest first; each step replaces the one before on the same option."""
    arguments = Arguments(canonical(request.version, args))
    seqs = arguments.number("max-num-seqs") or 1024
    limits = dict(arguments.mapping("limit-mm-per-prompt"))
    vision = model.vision
    yield from ({"max-num-seqs": n} for n in (256, 64) if n < seqs)
    if vision and limits.get("video", 1) and limits.get("image", 1):
        yield {"limit-mm-per-prompt": {**limits, "image": limits.get("image", 1), "video": 0}}
    if vision and not vision.tokens:
        tile = vision.tile**2
        most = dict(arguments.mapping("mm-processor-kwargs"))
        now = int(most.get("max_pixels") or vision.max_pixels)
        yield from (
            {"mm-processor-kwargs": {**most, "max_pixels": tokens * tile}}
            for tokens in (4096, 1280)
            if tokens * tile < now
        )
    yield from ({"max-num-seqs": n} for n in (16,) if n < seqs)
    if vision:
        images = int(limits.get("image", 1))
        yield from ({"limit-mm-per-prompt": {"image": n, "video": 0}} for n in (4, 2, 1) if n < images)
        yield {"mm-processor-kwargs": {"max_pixels": 512 * vision.tile**2}}
    yield {"enforce-eager": True}
    yield from ({"max-num-seqs": n} for n in (4,) if n < seqs)
    yield {"gpu-memory-utilization": 0.95}
    if vision:
        yield {"limit-mm-per-prompt": {"image": 0, "video": 0}}
    yield {"max-num-seqs": 1, "max-num-batched-tokens": 2048}


def _merged(args: Args, steps: Sequence[Mapping[str, object]]) -> dict[str, object]:
    merged = dict(args)
    for step in steps:
        merged.update(step)
    return merged


def with_context(request: Request, model: Model, args: Args, keep: frozenset[str]) -> Answer | None:
    """The answer for ``args``, its context cut to what the KV cache holds; None if it is refused for more than that.

    With V0 a shorter context also profiles less, so it is cut in a few rounds.
    """
    answer = evaluate(request, model, args)
    for _ in range(len(CONTEXTS) + 1):
        refusals = {reason.rule for reason in answer.refusals}
        if not refusals:
            return answer
        if "max-model-len" in keep or not refusals <= {"mem-len", "mem-kv", "batch-lt-len"}:
            return None
        now = answer.max_model_len or 0
        fitting = (answer.kv_tokens or 0) // LEAST_CONTEXT * LEAST_CONTEXT
        if refusals == {"mem-len"} and fitting >= LEAST_CONTEXT and answer.engine == "V1":
            shorter = min(fitting, now)
        else:
            shorter = next((length for length in CONTEXTS if length < now), 0)
        if (
            shorter < LEAST_CONTEXT
            or shorter == now
            or (answer.engine == "V1" and "mem-kv" in refusals and now <= 2048)
        ):
            return None
        answer = evaluate(request, model, {**args, "max-model-len": shorter})
    return None
