"""Where one GPU's memory goes: by component, or by layer."""

from __future__ import annotations

from fleet.sizing.activation import GIB
from fleet.sizing.answer import Answer

NAMES = {
    "embedding": "embedding",
    "lm_head": "output head",
    "norm": "norms",
    "attention": "attention",
    "mlp": "MLP",
    "experts": "experts",
    "router": "router",
    "vision": "vision tower",
    "rope": "rope tables",
}
ONCE = ("embedding", "vision", "lm_head", "rope")


def by_component(answer: Answer) -> list[dict[str, object]]:
    """Rows of component, GiB and share of the GPU: weights by part, then all the rest."""
    gpu = answer.per_gpu
    rows = [(f"weights: {NAMES.get(part, part)}", size / GIB) for part, size in answer.parts.items()]
    slack = (gpu.weights_gib or 0) - sum(size for _, size in rows)
    rows += [
        ("weights: allocator's rounding", slack),
        ("activations at the peak", gpu.activation_gib or 0),
        ("CUDA and NCCL", gpu.non_torch_gib or 0),
        ("KV cache", gpu.kv_gib or 0),
        ("CUDA graphs", gpu.cuda_graph_gib or 0),
        ("left over", gpu.headroom_gib or 0),
    ]
    total = gpu.total_gib or 1
    return [
        {"component": name, "GiB": f"{size:.3f}", "of the GPU": f"{size / total:.1%}"}
        for name, size in rows
        if abs(size) > 5e-4
    ]


def by_layer(answer: Answer) -> list[dict[str, object]]:
    """Rows of layer, weights and KV cache in MiB; layers that are alike share a row."""
    each = sum(size for part, size in answer.parts.items() if part not in ONCE) / max(1, answer.layers)
    kv = (answer.per_gpu.kv_gib or 0) * 1024 / max(1, answer.layers)
    rows: list[dict[str, object]] = []
    for part in ONCE[:2]:
        if part in answer.parts:
            rows.append(_layer(NAMES[part], 1, answer.parts[part] / (1 << 20), 0))
    rows.append(_layer(f"layers 0 to {answer.layers - 1}", answer.layers, each / (1 << 20), max(0, kv)))
    for part in ONCE[2:]:
        if part in answer.parts:
            rows.append(_layer(NAMES[part], 1, answer.parts[part] / (1 << 20), 0))
    return rows


def _layer(name: str, count: int, weights: float, kv: float) -> dict[str, object]:
    return {"layer": name, "count": count, "weights MiB each": f"{weights:.1f}", "KV MiB each": f"{kv:.1f}"}
