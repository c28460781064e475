"""Rules about quantised weights: which method a GPU can run, what the checkpoint must be, how it may be split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from fleet.sizing.answer import ReasonLevel
from fleet.sizing.case import Case
from fleet.sizing.settings import marlin_from
from fleet.sizing.tensors import tensors

#: Least compute capability by method (get_min_capability in layers/quantization/*.py of 0.8.2).
LEAST_CAPABILITY: Mapping[str, int] = {
    "aqlm": 60, "awq": 75, "awq_marlin": 80, "bitsandbytes": 70, "compressed-tensors": 70, "deepspeedfp": 60,
    "experts_int8": 80, "fbgemm_fp8": 80, "fp8": 80, "gguf": 60, "gptq": 60, "gptq_marlin": 80, "gptq_marlin_24": 80,
    "hqq": 80, "marlin": 80, "modelopt": 89, "moe_wna16": 70, "qqq": 80,
}  # fmt: skip
#: Those that are Marlin's, wherever the release has its kernels.
MARLIN = frozenset({"awq_marlin", "gptq_marlin", "fp8"})
#: Methods that only take float16 activations.
HALF_ONLY = frozenset({"awq", "gptq", "aqlm", "marlin", "gptq_marlin_24", "qqq", "hqq"})
#: Methods that quantise an unquantised checkpoint while loading it.
AT_LOAD = frozenset({"fp8", "bitsandbytes", "experts_int8", "deepspeedfp", "ptpc_fp8"})
MARLIN_K, MARLIN_N = 128, 64


def _method_needs_capability(case: Case) -> str | None:
    kernel = case.settings.kernel
    least = LEAST_CAPABILITY.get(kernel or "")
    if kernel in MARLIN:
        least = marlin_from(case.settings.version)
    if kernel and least and case.gpu.sm < least:
        return (
            f"quantization {kernel} needs compute capability {least / 10:g}, "
            f"{case.gpu.name} has {case.gpu.capability[0]}.{case.gpu.capability[1]}"
        )
    return None


def _checkpoint_is_quantised(case: Case) -> str | None:
    asked = case.args.text("quantization").lower()
    if case.model.quantization is None and asked and asked not in AT_LOAD and asked != "none":
        return (
            f"--quantization {asked} needs a checkpoint that is quantised so; this one isn't: "
            "leave the option out, or take the model's AWQ or GPTQ version"
        )
    return None


def _checkpoint_agrees(case: Case) -> str | None:
    asked = case.args.text("quantization").lower()
    stored = case.model.quantization
    if stored is None or asked in ("", "none"):
        return None
    fitting = {stored.method}
    if stored.method in ("awq", "gptq"):
        fitting |= (
            {f"{stored.method}_marlin", "moe_wna16"} if case.gpu.sm >= marlin_from(case.settings.version) else set()
        )
    if asked not in fitting:
        return f"--quantization {asked}, but the checkpoint is {stored.method}: leave the option out"
    return None


def _method_needs_half(case: Case) -> str | None:
    kernel = case.settings.kernel
    if kernel in HALF_ONLY and case.settings.dtype != "float16" and case.model.quantization is not None:
        return f"quantization {kernel} takes float16 only, not {case.settings.dtype}: pass --dtype half"
    return None


def _slow_kernel_is_pinned(case: Case) -> str | None:
    asked, stored = case.args.text("quantization").lower(), case.model.quantization
    if (
        stored
        and stored.method in ("awq", "gptq")
        and asked == case.settings.kernel == stored.method
        and case.gpu.sm >= 80
    ):
        return f"--quantization {asked} pins the slow kernel; leave it out and {asked}_marlin is taken"
    return None


def _groups_divide(case: Case) -> str | None:
    stored = case.model.quantization
    if stored is None or stored.method == "bitsandbytes" or stored.at_load:
        return None
    for name, inputs, outputs in _split_matrices(case):
        group = stored.block[0] if stored.block else stored.group
        if group > 0 and inputs % group:
            return _unaligned(case, name, inputs, f"groups of {group}")
        if stored.block and outputs % stored.block[1]:
            return _unaligned(case, name, outputs, f"blocks of {stored.block[1]}")
        if (case.settings.kernel or "").endswith("_marlin") and inputs % MARLIN_K:
            return _unaligned(case, name, inputs, f"Marlin's tiles of {MARLIN_K}")
        if (case.settings.kernel or "").endswith("_marlin") and outputs % MARLIN_N:
            return _unaligned(case, name, outputs, f"Marlin's tiles of {MARLIN_N}")
        if stored.method == "awq" and outputs % (32 // max(1, stored.bits)):
            return _unaligned(case, name, outputs, f"{32 // stored.bits} values a word")
    return None


def _unaligned(case: Case, name: str, size: int, by: str) -> str:
    tp = case.settings.tp
    hint = (
        "one GPU or pipeline stages work, or a checkpoint padded to a multiple"
        if tp > 1
        else "another checkpoint is needed"
    )
    return f"the {name}'s {size} at tensor-parallel-size {tp} isn't a multiple of {by}: {hint}"


def _split_matrices(case: Case) -> Iterator[tuple[str, int, int]]:
    """``(part, inputs, outputs)`` of each packed matrix on one GPU; each expert's own, gate and up apart."""
    stored = case.model.quantization
    for tensor in tensors(case.model, case.settings.tp, vision=False):
        if tensor.packable and stored is not None and not stored.ignores(tensor.component):
            gated = tensor.component in ("mlp", "experts") and tensor.inputs == case.model.hidden
            yield tensor.component, tensor.inputs, math.ceil(tensor.outputs / (2 if gated else 1))


def _fp8_is_stored_only(case: Case) -> str | None:
    if case.settings.kernel in ("fp8", "fbgemm_fp8") and case.gpu.sm < 89:
        return f"{case.gpu.name} has no fp8 units: weights are kept in fp8 and computed in 16 bits (Marlin), no faster"
    return None


ROWS: tuple[tuple[str, ReasonLevel, Callable[[Case], str | None], str], ...] = (
    ("q-missing", "refuse", _checkpoint_is_quantised, "vllm/model_executor/model_loader/weight_utils.py:205; run"),
    ("q-mismatch", "refuse", _checkpoint_agrees, "vllm/config.py:649; run"),
    ("q-capability", "refuse", _method_needs_capability, "get_min_capability in layers/quantization/*.py; run"),
    ("q-awq-half", "refuse", _method_needs_half, "get_supported_act_dtypes in layers/quantization/*.py; run"),
    (
        "q-awq-auto",
        "warn",
        _slow_kernel_is_pinned,
        "layers/quantization/awq_marlin.py override_quantization_method; run",
    ),
    ("q-align", "refuse", _groups_divide, "layers/quantization/awq.py:103, marlin_utils.py:103-111; vllm issue 13640"),
    ("fp8-marlin", "warn", _fp8_is_stored_only, "layers/quantization/fp8.py:144"),
)
