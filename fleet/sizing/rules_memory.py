"""Rules about memory, once it is divided: does anything start, does the context fit, is there air for CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable

from fleet.sizing.activation import GIB
from fleet.sizing.answer import ReasonLevel
from fleet.sizing.case import Case
from fleet.sizing.memory import Memory
from fleet.sizing.settings import has

#: Of the CUDA graphs' estimate so much surely comes; beyond that a start is only doubtful.
GRAPHS_SURE = 0.5


def _weights_fit(case: Case) -> str | None:
    memory = case.memory
    if memory and memory.weights.total > memory.total:
        return f"{_gib(memory.weights.total)} of weights don't fit the {_gib(memory.total)} of {case.gpu.name}"
    return None


def _something_is_left(case: Case) -> str | None:
    memory = case.memory
    if memory and memory.kv <= 0 and memory.weights.total <= memory.total:
        return f"no memory for the KV cache: {_sum(case, memory)}"
    return None


def _context_fits(case: Case) -> str | None:
    memory, length = case.memory, case.settings.max_model_len
    if memory and memory.kv > 0 and memory.kv_tokens < length and case.args.text("max-model-len") not in ("auto", "-1"):
        return (
            f"max-model-len {length} needs {_gib(int(length * memory.kv_bytes_per_token_gpu))} of KV cache, "
            f"{_gib(memory.kv)} are left ({memory.kv_tokens} tokens): {_sum(case, memory)}"
        )
    return None


def _graphs_fit(case: Case) -> str | None:
    memory = case.memory
    if memory and _air(case, memory) < 0:
        return (
            f"beyond the budget {_gib(memory.total - memory.budget)} are left, too little for the CUDA graphs (about "
            f"{_gib(memory.graphs)}): lower --gpu-memory-utilization, or --enforce-eager"
        )
    return None


def _air_is_thin(case: Case) -> str | None:
    memory = case.memory
    if memory and _air(case, memory) >= 0 and memory.headroom < GIB // 4:
        return f"only {_gib(memory.headroom)} stay free outside of the budget and the CUDA graphs"
    return None


def _video_is_costly(case: Case) -> str | None:
    memory, settings = case.memory, case.settings
    if memory and memory.peak.where == "vision" and settings.videos and settings.images and settings.engine == "V1":
        return (
            f"profiling a video takes {_gib(memory.peak.activation)} before the KV cache: where none are asked about, "
            "limit-mm-per-prompt video 0 gives it back"
        )
    return None


def _air(case: Case, memory: Memory) -> int:
    budgeted = has(case.settings.version, "graphs-budgeted") and case.settings.runner == 1
    outside = 0 if budgeted else int(memory.graphs * GRAPHS_SURE)
    return memory.total - memory.budget - outside - GIB // 4 if case.settings.util > 0.9 else 0


def _sum(case: Case, memory: Memory) -> str:
    parts = (
        f"{_gib(memory.budget)} budget − {_gib(memory.weights.total)} weights − {_gib(memory.peak.activation)} "
        f"{memory.peak.where} − {_gib(memory.peak.non_torch)} CUDA and NCCL"
    )
    budgeted = memory.graphs and has(case.settings.version, "graphs-budgeted") and case.settings.runner == 1
    return parts + (f" − {_gib(memory.graphs)} CUDA graphs" if budgeted else "")


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


ROWS: tuple[tuple[str, ReasonLevel, Callable[[Case], str | None], str], ...] = (
    ("mem-weights", "refuse", _weights_fit, "torch.OutOfMemoryError while loading"),
    ("mem-kv", "refuse", _something_is_left, "'No available memory for the cache blocks' (V0 and V1)"),
    ("mem-len", "refuse", _context_fits, "vllm/worker/worker.py:545, vllm/v1/core/kv_cache_utils.py:479"),
    ("mem-graphs", "refuse", _graphs_fit, "vllm issues 16570 and 17462"),
    ("mem-air", "warn", _air_is_thin, "vllm issues 16570 and 17462"),
    ("mem-video", "warn", _video_is_costly, "v1/worker/gpu_model_runner.py profile_run; a log of 0.23"),
)
