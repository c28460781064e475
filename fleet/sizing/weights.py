"""Bytes of weights on one GPU, as vLLM's 'model weights take … GiB' counts them.

vLLM measures memory while loading (DeviceMemoryProfiler), so allocations count, not values. Older releases read
torch's peak of allocated blocks, newer ones what the device lost, which is whole segments: up to 1 MiB comes from
segments of 2 MiB, up to 10 MiB from segments of 20 MiB, what is larger is rounded up to 2 MiB; a rest of more than
1 MiB is split off and counts as free (c10/cuda/CUDACachingAllocator.cpp). Rope's table of cosines and sines is built
while loading too: positions × head size, four times as long for M-RoPE (layers/rotary_embedding.py MRotaryEmbedding).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleet.sizing.model import Model
from fleet.sizing.quantization import Quantization
from fleet.sizing.tensor import Tensor
from fleet.sizing.tensors import tensors

MIB = 1 << 20
DTYPE_BYTES: Mapping[str, int] = {"float16": 2, "half": 2, "bfloat16": 2, "float32": 4, "float": 4}


@dataclass(frozen=True)
class Weights:
    """Bytes on the GPU of a rank that holds most: ``total`` as allocated, ``parts`` as the tensors' own sizes."""

    total: int
    parts: Mapping[str, int] = field(default_factory=dict)


def weights(
    model: Model,
    *,
    tp: int = 1,
    pp: int = 1,
    dtype: str | None = None,
    quantization: Quantization | None = None,
    vision: bool = True,
    segments: bool = True,
) -> Weights:
    """The weights of the fullest of ``tp`` × ``pp`` GPUs; ``quantization`` as it runs (None: 16-bit or ``dtype``).

    ``segments``: whether the release counts whole segments or allocated blocks.
    """
    value = DTYPE_BYTES.get(dtype or model.dtype, 2)
    layers = math.ceil(model.layers / pp)
    held = list(tensors(model, tp, layers=layers, vision=vision))
    if pp > 1:  # the first stage has the embedding (and the tower), the last the head; neither has both
        spare = "embedding" if _bytes_of(held, {"vision"}, value) == 0 else "lm_head"
        held = [tensor for tensor in held if tensor.component != spare]
    parts: dict[str, int] = {}
    loose: list[tuple[int, int]] = []
    for tensor in held:
        pieces = _pieces(tensor, value, quantization)
        loose += [(size, tensor.count) for size in pieces]
        parts[tensor.component] = parts.get(tensor.component, 0) + tensor.count * sum(pieces)
    if model.latent:
        parts["attention"] += _absorbed(model, layers, tp, value)
    parts["rope"] = model.rope_positions * (model.latent.rope_dim if model.latent else model.head_dim) * value
    loose.append((parts["rope"], 1))
    extra = _absorbed(model, layers, tp, value) if model.latent else 0
    return Weights(allocated(loose, segments=segments) + extra, parts)


def allocated(sizes: Iterable[tuple[int, int]], *, segments: bool = True) -> int:
    """What torch's allocator takes from the device for ``(bytes, count)`` allocations, or counts as allocated."""
    small = middle = large = 0
    for size, count in sizes:
        if size <= MIB:
            small += count * math.ceil(size / 512) * 512
        elif size < 10 * MIB:
            middle += count * size
        else:
            rounded = math.ceil(size / (2 * MIB)) * 2 * MIB
            large += count * (rounded if segments or rounded - size <= MIB else size)
    if not segments:
        return small + middle + large
    return math.ceil(small / (2 * MIB)) * 2 * MIB + math.ceil(middle / (20 * MIB)) * 20 * MIB + large


def _pieces(tensor: Tensor, value: int, quantization: Quantization | None) -> tuple[int, ...]:
    """Bytes of each allocation of one ``tensor``."""
    if tensor.packable and quantization is not None and not quantization.ignores(tensor.component):
        return tuple(tensor.copies * size for size in quantization.pieces(tensor.inputs, tensor.outputs))
    return (tensor.copies * tensor.inputs * tensor.outputs * value,)


def _bytes_of(held: Iterable[Tensor], components: set[str], value: int) -> int:
    return sum(t.parameters * value for t in held if t.component in components)


def _absorbed(model: Model, layers: int, tp: int, value: int) -> int:
    """MLA keeps the up-projections of keys and values unpacked beside the packed ones, for decoding."""
    latent = model.latent
    if latent is None:
        return 0
    heads = math.ceil(model.heads / tp)
    return layers * heads * latent.kv_rank * (latent.nope_dim + latent.value_dim) * value
