"""The table of rules: what vLLM refuses, what it silently does, what costs. One row a rule; each gives words or None.

A rule looks at a :class:`Case` and knows nothing of the others. Sources name the file of vLLM 0.8.2 where it is
decided, or the public issue where it was met; 'run' means that 0.8.2's own config step was seen to say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fleet.sizing import rules_memory, rules_parallel, rules_quantization
from fleet.sizing.answer import Reason, ReasonLevel
from fleet.sizing.case import Case
from fleet.sizing.settings import has
from fleet.sizing.versions import at_least


@dataclass(frozen=True)
class Rule:
    """``check`` gives the words when the rule applies to a case, else None."""

    id: str
    level: ReasonLevel
    check: Callable[[Case], str | None]
    source: str

    def judge(self, case: Case) -> Reason | None:
        """The reason, where the rule applies."""
        words = self.check(case)
        return Reason(self.id, self.level, words, self.source) if words else None


def apply(case: Case) -> Iterator[Reason]:
    """Every reason that applies, in the table's order; rules about memory only once it was divided."""
    for rule in RULES if case.memory is None else MEMORY_RULES:
        reason = rule.judge(case)
        if reason:
            yield reason


def _bfloat16_needs_ampere(case: Case) -> str | None:
    if case.settings.dtype == "bfloat16" and case.gpu.sm < 80:
        return f"bfloat16 needs compute capability 8.0, {case.gpu.name} has {_cc(case)}: pass --dtype half"
    return None


def _kernels_for_the_gpu(case: Case) -> str | None:
    old = not at_least(case.settings.version, "0.9.0")
    cuda = tuple(int(part) for part in case.cuda.split(".")[:2]) if case.cuda else None
    if case.gpu.sm >= 100 and (cuda < (12, 8) if cuda else old):
        what = f"CUDA {case.cuda}" if case.cuda else f"vLLM {case.settings.version} (torch 2.6, CUDA 12.4)"
        return f"{what} has no kernels for compute capability {_cc(case)} ({case.gpu.name})"
    if case.gpu.sm < 75 and cuda and cuda >= (13, 0):
        return f"CUDA {case.cuda} has no kernels for compute capability {_cc(case)} ({case.gpu.name})"
    return None


def _driver_for_the_cuda(case: Case) -> str | None:
    if not case.driver or not case.cuda:
        return None
    needs = {11: 450, 12: 525, 13: 580}.get(int(case.cuda.split(".")[0]))
    has_ = int(case.driver.split(".")[0])
    if needs and has_ < needs:
        return f"driver {case.driver} can't run CUDA {case.cuda}: {needs} or newer is needed"
    return None


def _falls_back_to_v0(case: Case) -> str | None:
    if case.settings.engine == "V0" and case.env.get("VLLM_USE_V1") != "1":
        return f"the V0 engine runs, because of {', '.join(case.settings.v0_because)}"
    return None


def _v1_can_not_be_forced(case: Case) -> str | None:
    if case.settings.engine == "V0" and case.env.get("VLLM_USE_V1") == "1":
        return f"VLLM_USE_V1=1, but V1 doesn't support {', '.join(case.settings.v0_because)}"
    return None


def _v1_setting_is_ignored(case: Case) -> str | None:
    if "VLLM_USE_V1" in case.env and has(case.settings.version, "v1-only"):
        return f"VLLM_USE_V1 means nothing to {case.settings.version}: there is only V1"
    return None


def _fp8_cache_costs_v1(case: Case) -> str | None:
    settings = case.settings
    if settings.kv_dtype.startswith("fp8") and settings.engine == "V0":
        if case.gpu.sm < 80:
            return f"an fp8 KV cache passes every check on {case.gpu.name}, but no run of it is known: try it first"
        return (
            "an fp8 KV cache costs the V1 engine here, with its prefix caching and chunked prefill; V0 then profiles "
            f"{settings.batched_tokens} tokens at once, which can take more than fp8 saves"
        )
    return None


def _fp8_cache_kernel(case: Case) -> str | None:
    """V0 with prefix caching or chunked prefill uses a Triton kernel that has no e4m3 below 8.9."""
    settings = case.settings
    prefix = case.args.given("enable-prefix-caching") or settings.chunked
    text = case.model.vision is None
    if settings.engine == "V0" and settings.kv_dtype in ("fp8", "fp8_e4m3") and case.gpu.sm < 89 and prefix and text:
        return f"fp8 (e4m3) KV cache with prefix caching or chunked prefill fails on {_cc(case)}: use fp8_e5m2"
    return None


def _batch_holds_the_context(case: Case) -> str | None:
    s = case.settings
    if not s.chunked and s.batched_tokens < s.max_model_len:
        why = "unchunked in V0" if s.engine == "V0" else "and prompts aren't split (no-enable-chunked-prefill)"
        return f"max-num-batched-tokens {s.batched_tokens} is less than max-model-len {s.max_model_len}, {why}"
    return None


def _batch_holds_the_sequences(case: Case) -> str | None:
    s = case.settings
    if s.batched_tokens < s.max_seqs:
        return (
            f"max-num-batched-tokens {s.batched_tokens} is less than max-num-seqs {s.max_seqs}: set --max-num-seqs too"
        )
    return None


def _utilization_is_a_share(case: Case) -> str | None:
    said, util = case.args.text("gpu-memory-utilization"), case.args.share("gpu-memory-utilization")
    if said and (util is None or not 0 < util <= 1):
        return f"gpu-memory-utilization {said} is no share: it must lie between 0 and 1"
    return None


def _limits_are_counts(case: Case) -> str | None:
    given, read = case.args.mapping("limit-mm-per-prompt"), case.args.counts("limit-mm-per-prompt")
    wrong = [name for name, value in given.items() if name not in read and not isinstance(value, dict)]
    return f"limit-mm-per-prompt {wrong[0]}={given[wrong[0]]!r} is no whole number from 0 on" if wrong else None


def _context_is_known(case: Case) -> str | None:
    s = case.settings
    if s.max_model_len > s.derived_len and case.env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        return f"max-model-len {s.max_model_len} is more than the {s.derived_len} that config.json gives"
    return None


def _counts_are_positive(case: Case) -> str | None:
    names = [
        "tensor-parallel-size",
        "pipeline-parallel-size",
        "max-num-seqs",
        "max-num-batched-tokens",
        "max-model-len",
    ]
    automatic = has(case.settings.version, "v1-only")
    for name in names:
        text = case.args.text(name).strip()
        if name == "max-model-len" and text == "-1" and automatic:
            continue
        if text.lstrip("-").isdigit() and int(text) < 1:
            return f"{name} {text} must be at least 1"
    return None


def _swap_needs_host_memory(case: Case) -> str | None:
    return _swap(case, 0.7, None)


def _swap_takes_much(case: Case) -> str | None:
    return _swap(case, 0.4, 0.7)


def _swap(case: Case, above: float, upto: float | None) -> str | None:
    if case.host_memory_gib is None or at_least(case.settings.version, "0.18.0"):
        return None
    each = case.args.share("swap-space")
    swap = (4.0 if each is None else each) * case.settings.tp
    share = swap / case.host_memory_gib
    if share > above and (upto is None or share <= upto):
        return (
            f"swap-space × tensor-parallel-size is {swap:g} GiB, {share:.0%} of the host's "
            f"{case.host_memory_gib:g} GiB: pass --swap-space 0"
        )
    return None


def _blocks_are_of_sixteen(case: Case) -> str | None:
    size = case.args.number("block-size")
    if size and case.settings.engine == "V1" and size % 16:
        return f"block-size {size} isn't a multiple of 16, which V1's attention needs"
    return None


def _sleep_and_segments(case: Case) -> str | None:
    allocator = case.env.get("PYTORCH_CUDA_ALLOC_CONF", "")
    if case.args.given("enable-sleep-mode") and "expandable_segments:True" in allocator:
        return "--enable-sleep-mode doesn't work with PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
    return None


def _tools_need_a_parser(case: Case) -> str | None:
    if case.args.given("enable-auto-tool-choice") and not case.args.given("tool-call-parser"):
        return "--enable-auto-tool-choice needs --tool-call-parser (hermes for Qwen's models)"
    return None


def _model_is_positional(case: Case) -> str | None:
    if case.args.given("model") or case.args.given("model-tag"):
        return "--model beside `vllm serve MODEL`: the model is given as the first word, leave --model out"
    return None


def _pixels_below_a_tile(case: Case) -> str | None:
    given = case.args.mapping("mm-processor-kwargs").get("max_pixels")
    vision = case.model.vision
    if vision and isinstance(given, (int, float)) and given < 4 * vision.tile**2:
        return f"max_pixels {given:g} is smaller than four tiles of {vision.tile} pixels: nothing is saved"
    return None


def _float32_costs_double(case: Case) -> str | None:
    return "float32 doubles weights and KV cache" if case.settings.dtype == "float32" else None


def _window_is_not_used(case: Case) -> str | None:
    if case.model.full_layers is not None:
        return "layers with a sliding window are counted with the whole context: the KV cache may hold more than said"
    return None


def _cc(case: Case) -> str:
    return f"{case.gpu.capability[0]}.{case.gpu.capability[1]}"


_CONFIG = "vllm/config.py"
_ARGS = "vllm/engine/arg_utils.py"

RULES: tuple[Rule, ...] = (
    Rule("model-flag", "refuse", _model_is_positional, "vllm/entrypoints/cli/serve.py; run"),
    Rule(
        "tools", "refuse", _tools_need_a_parser, "vllm/entrypoints/openai/cli_args.py validate_parsed_serve_args; run"
    ),
    Rule("counts", "refuse", _counts_are_positive, _CONFIG),
    Rule("dtype-bf16", "refuse", _bfloat16_needs_ampere, "vllm/worker/worker.py:513-530; run"),
    Rule("dtype-fp32", "warn", _float32_costs_double, _CONFIG),
    Rule("image-arch", "refuse", _kernels_for_the_gpu, "torch 2.6 with CUDA 12.4 has no sm100 or sm120"),
    Rule("driver", "refuse", _driver_for_the_cuda, "CUDA compatibility table of NVIDIA"),
    *(Rule(id_, level, check, source) for id_, level, check, source in rules_parallel.ROWS),
    *(Rule(id_, level, check, source) for id_, level, check, source in rules_quantization.ROWS),
    Rule("v1-off", "warn", _falls_back_to_v0, f"{_ARGS}:1497-1705; run"),
    Rule("v1-forced", "refuse", _v1_can_not_be_forced, f"{_ARGS}:1497-1705"),
    Rule("v1-only", "warn", _v1_setting_is_ignored, "release notes of 0.11.0"),
    Rule("kv-fp8-v0", "warn", _fp8_cache_costs_v1, f"{_ARGS}:1561-1575, platforms/cuda.py:262-275; run"),
    Rule("kv-fp8-triton", "refuse", _fp8_cache_kernel, "vllm issues 7714 and 26431"),
    Rule("batch-lt-len", "refuse", _batch_holds_the_context, f"{_CONFIG}:1717; run"),
    Rule("batch-lt-seqs", "refuse", _batch_holds_the_sequences, f"{_CONFIG}:1727; run"),
    Rule("util", "refuse", _utilization_is_a_share, f"{_CONFIG}; run"),
    Rule("mm-format", "refuse", _limits_are_counts, f"{_CONFIG}; run"),
    Rule("len-max", "refuse", _context_is_known, f"{_CONFIG} _get_and_verify_max_len; run"),
    Rule("swap-ram", "refuse", _swap_needs_host_memory, f"{_CONFIG}:1185-1193; run"),
    Rule("swap-much", "warn", _swap_takes_much, f"{_CONFIG}:1185-1193"),
    Rule("block", "refuse", _blocks_are_of_sixteen, "vllm/v1/attention/backends/flash_attn.py:63; vllm issue 15508"),
    Rule("sleep-expand", "refuse", _sleep_and_segments, "vllm/device_allocator/cumem.py:145"),
    Rule("pixels", "warn", _pixels_below_a_tile, "vllm issue 16570"),
    Rule("window", "warn", _window_is_not_used, "vllm/v1/core/kv_cache_utils.py"),
)

MEMORY_RULES: tuple[Rule, ...] = tuple(
    Rule(id_, level, check, source) for id_, level, check, source in rules_memory.ROWS
)
