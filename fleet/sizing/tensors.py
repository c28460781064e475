"""Every tensor that one GPU holds of a model, as vLLM splits it: fused QKV, fused gate and up, vocabulary padded to 64.

Sources: vllm/model_executor/layers/linear.py (column and row parallel, KV heads replicated when there are fewer than
GPUs), vocab_parallel_embedding.py (padding), models/deepseek_v2.py (MLA).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fleet.sizing.model import Experts, Latent, Model
from fleet.sizing.tensor import Tensor
from fleet.sizing.towers import tower

VOCAB_PADDING = 64


def parameters(model: Model) -> int:
    """The checkpoint's number of parameters, counted from the shapes."""
    padding = model.hidden * (_padded_vocab(model) - model.vocab) * (1 if model.tied else 2)
    return sum(tensor.parameters for tensor in tensors(model)) - padding


def tensors(model: Model, tp: int = 1, *, layers: int | None = None, vision: bool = True) -> Iterator[Tensor]:
    """The tensors of one of ``tp`` GPUs: ``layers`` of the text model (all), the tower unless ``vision`` is False."""
    count = model.layers if layers is None else layers
    yield from embeddings(model, tp)
    yield Tensor("norm", count * model.norms + 1, model.hidden)
    yield from _attention(model, count, tp)
    yield from _mlp(model, count, tp)
    if model.vision and vision:
        yield from tower(model.vision, tp)


def embeddings(model: Model, tp: int) -> Iterator[Tensor]:
    """The input embedding and, unless it is tied, the output head."""
    rows = math.ceil(_padded_vocab(model) / tp)
    yield Tensor("embedding", 1, rows, model.hidden)
    if not model.tied:
        yield Tensor("lm_head", 1, rows, model.hidden)


def _padded_vocab(model: Model) -> int:
    return math.ceil(model.vocab / VOCAB_PADDING) * VOCAB_PADDING


def _attention(model: Model, count: int, tp: int) -> Iterator[Tensor]:
    if model.latent:
        yield from _latent_attention(model, model.latent, count, tp)
        return
    heads = math.ceil(model.heads / tp)
    kv_heads = max(1, model.kv_heads // tp)
    width = (heads + 2 * kv_heads) * model.head_dim
    yield Tensor("attention", count, model.hidden, width, packable=True)
    if model.qkv_bias:
        yield Tensor("attention", count, width)
    if model.qk_norm:
        yield Tensor("attention", 2 * count, model.head_dim)
    yield Tensor("attention", count, heads * model.head_dim, model.hidden, packable=True)
    if model.out_bias:
        yield Tensor("attention", count, model.hidden)


def _latent_attention(model: Model, latent: Latent, count: int, tp: int) -> Iterator[Tensor]:
    heads = math.ceil(model.heads / tp)
    query = heads * (latent.nope_dim + latent.rope_dim)
    if latent.q_rank:
        yield Tensor("attention", count, model.hidden, latent.q_rank, packable=True)
        yield Tensor("attention", count, latent.q_rank)
        yield Tensor("attention", count, latent.q_rank, query, packable=True)
    else:
        yield Tensor("attention", count, model.hidden, query, packable=True)
    yield Tensor("attention", count, model.hidden, latent.kv_rank + latent.rope_dim, packable=True)
    yield Tensor("attention", count, latent.kv_rank)
    yield Tensor("attention", count, latent.kv_rank, heads * (latent.nope_dim + latent.value_dim), packable=True)
    yield Tensor("attention", count, heads * latent.value_dim, model.hidden, packable=True)


def _mlp(model: Model, count: int, tp: int) -> Iterator[Tensor]:
    experts = model.experts
    dense = count if experts is None else min(count, experts.dense_layers)
    if dense:
        width = math.ceil(model.intermediate / tp)
        yield from _gated("mlp", dense, model.hidden, width)
        if model.mlp_bias:
            yield Tensor("mlp", dense, 2 * width + model.hidden)
    if experts and count > dense:
        yield from _experts(model, experts, count - dense, tp)


def _experts(model: Model, experts: Experts, count: int, tp: int) -> Iterator[Tensor]:
    width = math.ceil(experts.intermediate / tp)
    yield Tensor("router", count, model.hidden, experts.count)
    yield Tensor("experts", count, model.hidden, 2 * width, packable=True, copies=experts.count)
    yield Tensor("experts", count, width, model.hidden, packable=True, copies=experts.count)
    if experts.shared_intermediate:
        yield from _gated("experts", count, model.hidden, math.ceil(experts.shared_intermediate / tp))
        if model.family == "qwen2moe":
            yield Tensor("experts", count, model.hidden)
    if model.family == "deepseek":
        yield Tensor("router", count, experts.count)


def _gated(component: str, count: int, hidden: int, width: int) -> Iterator[Tensor]:
    yield Tensor(component, count, hidden, 2 * width, packable=True)
    yield Tensor(component, count, width, hidden, packable=True)
