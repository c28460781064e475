"""Rules about splitting a model over GPUs: heads, KV heads, the vision tower, layers, and GPUs that there are."""

from __future__ import annotations

from collections.abc import Callable

from fleet.sizing.answer import ReasonLevel
from fleet.sizing.case import Case


def _enough_gpus(case: Case) -> str | None:
    s = case.settings
    if s.gpus > case.count:
        return f"tensor × pipeline × data parallel asks for {s.gpus} GPUs of {case.count}"
    return None


def _heads_divide(case: Case) -> str | None:
    if case.model.heads % case.settings.tp:
        return f"{case.model.heads} attention heads don't divide by tensor-parallel-size {case.settings.tp}"
    return None


def _kv_heads_divide(case: Case) -> str | None:
    tp, kv_heads = case.settings.tp, case.model.kv_heads
    if case.model.latent is None and (tp % kv_heads if tp > kv_heads else kv_heads % tp):
        return f"{kv_heads} KV heads neither divide by tensor-parallel-size {tp} nor are divided by it"
    return None


def _kv_heads_repeat(case: Case) -> str | None:
    tp, kv_heads = case.settings.tp, case.model.kv_heads
    if case.model.latent is None and tp > kv_heads and tp % kv_heads == 0:
        return f"{kv_heads} KV heads on {tp} GPUs: each is kept {tp // kv_heads} times, no gain in KV cache"
    return None


def _tower_divides(case: Case) -> str | None:
    vision, tp = case.model.vision, case.settings.tp
    if vision is None or tp == 1 or case.args.text("mm-encoder-tp-mode") == "data":
        return None
    for what, size in (("attention heads", vision.heads), ("MLP width", vision.intermediate)):
        if size % tp:
            return f"the vision tower's {what} {size} doesn't divide by tensor-parallel-size {tp}"
    return None


def _width_divides(case: Case) -> str | None:
    experts, tp = case.model.experts, case.settings.tp
    if experts and experts.intermediate % tp and not case.args.given("enable-expert-parallel"):
        return f"the experts' width {experts.intermediate} doesn't divide by tensor-parallel-size {tp}"
    if case.model.intermediate % tp:
        return f"the MLP's width {case.model.intermediate} doesn't divide by tensor-parallel-size {tp}"
    return None


def _layers_for_stages(case: Case) -> str | None:
    if case.settings.pp > case.model.layers:
        return f"{case.model.layers} layers can't make {case.settings.pp} pipeline stages"
    return None


def _gpus_left_over(case: Case) -> str | None:
    left = case.count % case.settings.gpus if case.settings.gpus <= case.count else 0
    if left:
        return (
            f"{left} of {case.count} GPUs {'is' if left == 1 else 'are'} left over by servers of {case.settings.gpus}"
        )
    return None


ROWS: tuple[tuple[str, ReasonLevel, Callable[[Case], str | None], str], ...] = (
    ("gpus", "refuse", _enough_gpus, "vllm/executor/ray_utils.py, multiproc_worker_utils.py"),
    ("heads", "refuse", _heads_divide, "vllm/config.py:755; run"),
    ("kv-heads", "refuse", _kv_heads_divide, "vllm/model_executor/layers/linear.py QKVParallelLinear"),
    ("kv-heads-repeat", "warn", _kv_heads_repeat, "vllm/model_executor/layers/linear.py QKVParallelLinear"),
    ("vit-mlp", "refuse", _tower_divides, "vllm/model_executor/models/qwen2_5_vl.py:212, layers/linear.py divide"),
    ("mlp", "refuse", _width_divides, "vllm/model_executor/layers/linear.py divide"),
    ("layers", "refuse", _layers_for_stages, "vllm/distributed/utils.py get_pp_indices"),
    ("gpus-left", "warn", _gpus_left_over, "arithmetic"),
)
