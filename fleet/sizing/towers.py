"""The tensors of a vision tower on one GPU.

Sources: vllm/model_executor/models/qwen2_vl.py, qwen2_5_vl.py, qwen3_vl.py, siglip.py and gemma3_mm.py, intern_vit.py
and internvl.py, pixtral.py and mistral3.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fleet.sizing.tensor import Tensor
from fleet.sizing.vision import Vision


def tower(vision: Vision, tp: int) -> Iterator[Tensor]:
    """Every tensor of the tower and of what joins it to the text model."""
    if vision.kind.startswith("qwen"):
        yield from _qwen(vision, tp)
    else:
        yield from _blocks(vision, tp)
        yield from _projector(vision)


def _blocks(vision: Vision, tp: int) -> Iterator[Tensor]:
    """A plain vision transformer: SigLIP, InternViT, Pixtral."""
    width, depth = vision.hidden, vision.depth
    split = tp if vision.heads % tp == 0 else 1  # InternViT keeps its attention whole where the heads don't divide
    heads, inner = width // split, math.ceil(vision.intermediate / tp)
    bias = vision.kind != "pixtral"
    yield Tensor("vision", 1, vision.patch_values, width)
    if vision.positions:
        yield Tensor("vision", 1, vision.positions, width)
    if bias:
        yield Tensor("vision", 1, width)
    norms = 4 * depth if bias else 2 * depth  # LayerNorm has a weight and a bias, RMSNorm a weight
    yield Tensor("vision", norms + {"siglip": 2, "intern": 1 + 2 * depth}.get(vision.kind, 1), width)
    gates = 1 if bias else 2
    for inputs, outputs in ((width, 3 * heads), (heads, width), (width, gates * inner), (inner, width)):
        yield Tensor("vision", depth, inputs, outputs, packable=True)
        if bias:
            yield Tensor("vision", depth, outputs)


def _projector(vision: Vision) -> Iterator[Tensor]:
    merged = vision.hidden * vision.merge**2
    if vision.kind == "siglip":
        yield Tensor("vision", 1, vision.hidden, vision.out)
        yield Tensor("vision", 1, vision.hidden)
    elif vision.kind == "intern":
        yield Tensor("vision", 2, merged)
        yield Tensor("vision", 1, merged, vision.out)
        yield Tensor("vision", 1, vision.out, vision.out)
        yield Tensor("vision", 2, vision.out)
    else:
        yield Tensor("vision", 1, merged, vision.hidden)
        yield Tensor("vision", 1, vision.hidden)
        yield Tensor("vision", 1, vision.hidden, vision.out)
        yield Tensor("vision", 1, vision.out, vision.out)


def _qwen(vision: Vision, tp: int) -> Iterator[Tensor]:
    width, depth = vision.hidden, vision.depth
    heads = math.ceil(width / tp)
    inner = math.ceil(vision.intermediate / tp)
    norm = 1 if vision.kind == "qwen2_5" else 2  # RMSNorm has a weight, LayerNorm a weight and a bias
    yield Tensor("vision", 1, vision.patch_values, width)
    if vision.kind == "qwen3":
        yield Tensor("vision", 1, width)
        yield Tensor("vision", 1, vision.positions, width)
    yield Tensor("vision", 2 * norm * depth, width)
    yield from _linear(depth, width, 3 * heads)
    yield from _linear(depth, heads, width)
    yield from _linear(depth, width, 2 * inner if vision.kind == "qwen2_5" else inner)
    yield from _linear(depth, inner, width)
    merged = width * vision.merge**2
    for merger in range(1 + vision.extra_mergers):
        yield Tensor("vision", norm, merged if merger else width)
        yield from _linear(1, merged, math.ceil(merged / tp))
        yield from _linear(1, math.ceil(merged / tp), vision.out)


def _linear(count: int, inputs: int, outputs: int) -> Iterator[Tensor]:
    yield Tensor("vision", count, inputs, outputs, packable=True)
    yield Tensor("vision", count, outputs)
