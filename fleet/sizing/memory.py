"""One GPU's memory as vLLM divides it: budget, weights, activations, KV cache; and what stays outside of the budget.

budget = total × gpu-memory-utilization; KV = budget − weights − peak − what isn't torch's, since 0.21 − CUDA graphs.
Tokens are blocks × 16 (worker/worker.py of V0, v1/core/kv_cache_utils.py of V1). All in bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fleet.sizing.activation import GIB, Peak, peak
from fleet.sizing.gpus import Gpu
from fleet.sizing.model import Model
from fleet.sizing.settings import Settings, has
from fleet.sizing.weights import Weights, weights

BLOCK = 16
#: Bytes of CUDA graphs for each layer and hidden feature. V1: 7B and 72B on H100 0.5 and 3.5 GiB, 7B on L4 0.51;
#: V0, which captures 35 sizes of the whole model: 0.27 GiB for a 14B.
GRAPH_BYTES = {"V0": 1500, "V1": 5800}
#: What the CUDA context and fragmentation want outside of the budget, bytes.
OUTSIDE = GIB // 2


@dataclass(frozen=True)
class Memory:
    """One GPU of one server, in bytes; ``kv`` may be negative: so much is missing."""

    total: int
    budget: int
    weights: Weights
    peak: Peak
    graphs: int
    kv: int
    headroom: int
    kv_bytes_per_token: int
    kv_bytes_per_token_gpu: float
    kv_tokens: int

    @property
    def fits(self) -> bool:
        """Whether anything is left for the KV cache."""
        return self.kv_tokens > 0


def kv_bytes_per_token(model: Model, value_bytes: float) -> int:
    """Bytes that one token takes in the KV cache of the whole model."""
    if model.latent:
        return int(model.layers * (model.latent.kv_rank + model.latent.rope_dim) * value_bytes)
    return int(2 * model.layers * model.kv_heads * model.head_dim * value_bytes)


def kv_bytes_per_gpu(model: Model, settings: Settings) -> float:
    """The same on the fullest GPU: layers of its stage, KV heads of its rank (replicated when there are fewer)."""
    layers = math.ceil(model.layers / settings.pp)
    if model.latent:  # the latent isn't split by heads: every rank keeps it whole
        return layers * (model.latent.kv_rank + model.latent.rope_dim) * settings.kv_value_bytes
    heads = max(1, math.ceil(model.kv_heads / settings.tp))
    return 2 * layers * heads * model.head_dim * settings.kv_value_bytes


def graph_bytes(model: Model, settings: Settings) -> int:
    """What CUDA graphs take; 0 when eager."""
    return 0 if settings.eager else math.ceil(model.layers / settings.pp) * model.hidden * GRAPH_BYTES[settings.engine]


def divide(model: Model, gpu: Gpu, settings: Settings) -> Memory:
    """How vLLM would divide one GPU among this server's parts."""
    total = int(gpu.total_gib * GIB)
    budget = int(total * settings.util)
    loaded = weights(
        model,
        tp=settings.tp,
        pp=settings.pp,
        dtype=settings.dtype,
        quantization=settings.quantization,
        vision=settings.media or not has(settings.version, "tower-skipped"),
        segments=has(settings.version, "weights-by-device"),
    )
    on_gpu = max(0, loaded.total - int(settings.cpu_offload_gib * GIB))
    highest = peak(model, gpu, settings)
    graphs = graph_bytes(model, settings)
    budgeted = has(settings.version, "graphs-budgeted") and settings.runner == 1
    kv = budget - on_gpu - highest.activation - highest.non_torch - (graphs if budgeted else 0)
    if settings.kv_bytes_fixed:
        kv = settings.kv_bytes_fixed
    each = kv_bytes_per_gpu(model, settings)
    tokens = max(0, int(kv // (each * BLOCK))) * BLOCK
    headroom = total - budget - (0 if budgeted else graphs) - OUTSIDE
    return Memory(
        total=total,
        budget=budget,
        weights=Weights(on_gpu, loaded.parts),
        peak=highest,
        graphs=graphs,
        kv=kv,
        headroom=headroom,
        kv_bytes_per_token=kv_bytes_per_token(model, settings.kv_value_bytes),
        kv_bytes_per_token_gpu=each,
        kv_tokens=tokens,
    )
