"""Arguments without what is refused on its own: the nearest right value where there is one, else nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleet.sizing.answer import Request
from fleet.sizing.judge import canonical, evaluate
from fleet.sizing.model import Model
from fleet.sizing.options import check_args

#: What mends a refusal that isn't about memory: options to set (None: to leave out), variables to leave out.
FIXES: Mapping[str, Mapping[str, object]] = {
    "model-flag": {"model": None, "model-tag": None},
    "tools": {"enable-auto-tool-choice": None},
    "counts": {"tensor-parallel-size": None, "pipeline-parallel-size": None, "max-num-seqs": None,
               "max-num-batched-tokens": None, "max-model-len": None},
    "q-missing": {"quantization": None},
    "q-mismatch": {"quantization": None},
    "q-capability": {"quantization": None},
    "dtype-bf16": {"dtype": "half"},
    "q-awq-half": {"dtype": "half"},
    "v1-forced": {"VLLM_USE_V1": None},
    "kv-fp8-triton": {"kv-cache-dtype": "fp8_e5m2"},
    "util": {"gpu-memory-utilization": None},
    "mem-graphs": {"gpu-memory-utilization": 0.9},
    "len-max": {"max-model-len": None},
    "batch-lt-len": {"max-num-batched-tokens": None},
    "batch-lt-seqs": {"max-num-seqs": 256, "max-num-batched-tokens": None},
    "swap-ram": {"swap-space": 0},
    "block": {"block-size": None},
    "sleep-expand": {"PYTORCH_CUDA_ALLOC_CONF": None},
}  # fmt: skip


def repaired(
    request: Request, model: Model, asked: Mapping[str, object]
) -> tuple[dict[str, object], Mapping[str, str]]:
    """``asked`` and the environment without what is refused on its own: the nearest right value, or nothing."""
    args: dict[str, object] = dict(asked)
    for finding in check_args(request.version, args):
        if finding.level == "refuse":
            known = not any(
                f.option == finding.option for f in check_args(request.version, {finding.option: finding.nearest})
            )
            if finding.nearest is not None and known:
                args[finding.option] = finding.nearest
            else:
                args.pop(finding.option, None)
    args = canonical(request.version, args)
    env = dict(request.env)
    for _ in range(8):
        refused = {r.rule for r in evaluate(replace(request, env=env), model, args).refusals}
        fix = next((rule for rule in FIXES if rule in refused), None)
        if fix is None:
            break
        for name, value in FIXES[fix].items():
            if name.isupper():
                env.pop(name, None)
            elif value is None or args.get(name) == value:
                args.pop(name, None)
            else:
                args[name] = value
    return args, env
