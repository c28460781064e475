"""A model as its ``config.json`` describes it: shapes, nothing from its name.

The families are rows of ``data/architectures.json``: which architectures share a layout, which of their parts
have a bias or a norm. An architecture that isn't there is an :class:`UnknownArchitecture`: no number is guessed for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.errors import CatalogError
from fleet.sizing.data import read
from fleet.sizing.quantization import Quantization, read_quantization

MAX_CONFIG_BYTES = 4 << 20  # published ones are 1 to 60 KB
MAX_DIMENSION = 1 << 24


class UnknownArchitecture(CatalogError):
    """An architecture whose layout isn't known here."""


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: how many, how wide each, what is shared, how many leading layers stay dense."""

    count: int
    intermediate: int
    per_token: int
    shared_intermediate: int = 0
    dense_layers: int = 0


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek): the ranks that queries and keys/values are squeezed through."""

    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    q_rank: int | None


@dataclass(frozen=True)
class Vision:
    """The vision tower. ``kind`` names its layout; sizes are in pixels, widths in features."""

    kind: str
    depth: int
    hidden: int
    heads: int
    intermediate: int
    patch: int
    merge: int
    temporal: int
    out: int
    channels: int = 3
    min_pixels: int = 3136
    max_pixels: int = 12845056
    positions: int = 0
    extra_mergers: int = 0

    @property
    def patch_values(self) -> int:
        """Values of one patch as it enters the tower: channels × frames × patch²."""
        return self.channels * self.temporal * self.patch * self.patch


@dataclass(frozen=True)
class Model:
    """All that sizing knows of one checkpoint."""

    architecture: str
    family: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    max_positions: int
    rope_positions: int
    dtype: str
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    norms: int = 2
    experts: Experts | None = None
    latent: Latent | None = None
    vision: Vision | None = None
    quantization: Quantization | None = None
    sliding_window: int | None = None
    full_layers: int | None = None
    where: str = ""


def read_model(
    config: Mapping[str, Any], *, preprocessor: Mapping[str, Any] | None = None, where: str = "config.json"
) -> Model:
    """The model that a parsed ``config.json`` describes.

    ``preprocessor`` is ``preprocessor_config.json`` where there is one: it says how large images may be. Raises
    :class:`UnknownArchitecture` for a layout that isn't known, :class:`CatalogError` for what contradicts itself.
    """
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures:
        raise CatalogError("no architectures in it", where=where, hint="is this a model's config.json?")
    name = str(architectures[0])
    family = read("architectures.json")["architectures"].get(name)
    if family is None:
        raise UnknownArchitecture(f"architecture {name} isn't known here", where=where)
    layout = read("architectures.json")["layouts"][family["layout"]]
    text = config.get(family.get("text", "text_config"))
    text = {**config, **text} if isinstance(text, Mapping) else config
    reader = _Reader(text, where)
    hidden = reader.number("hidden_size")
    heads = reader.number("num_attention_heads")
    latent = _latent(reader) if layout.get("latent") else None
    head_dim = reader.number("head_dim", default=0) or _divided(hidden, heads, where)
    kv_heads = reader.number("num_key_value_heads", default=heads)
    if heads % kv_heads and latent is None:
        raise CatalogError(f"{heads} attention heads don't divide by {kv_heads} KV heads", where=where)
    positions = reader.number("max_position_embeddings", default=2048)
    vision = _vision(config, family["vision"], hidden, preprocessor, where) if "vision" in family else None
    bias = bool(text.get("attention_bias", layout.get("qkv_bias", False)))
    return Model(
        architecture=name,
        family=family["layout"],
        layers=reader.number("num_hidden_layers"),
        hidden=hidden,
        intermediate=reader.number("intermediate_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=reader.number("vocab_size"),
        tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", layout.get("tied", False)))),
        max_positions=_longest(text, positions),
        rope_positions=positions * (4 if _is_mrope(text) else 1),
        dtype=str(text.get("torch_dtype") or text.get("dtype") or config.get("torch_dtype") or "bfloat16"),
        qkv_bias=bias or bool(layout.get("qkv_bias", False)),
        out_bias=bias and bool(layout.get("out_bias", False)),
        mlp_bias=bool(text.get("mlp_bias", False)),
        qk_norm=bool(layout.get("qk_norm", False)),
        norms=int(layout.get("norms", 2)),
        experts=_experts(reader, layout),
        latent=latent,
        vision=vision,
        quantization=read_quantization(config, where),
        sliding_window=_window(text),
        full_layers=_full_layers(text, reader.number("num_hidden_layers"), int(layout.get("full_every", 1))),
        where=where,
    )


def load_model(path: Path) -> Model:
    """The model in a directory or a ``config.json``; a ``preprocessor_config.json`` beside it is read too."""
    file = path / "config.json" if path.is_dir() else path
    config = read_json(file)
    beside = file.parent / "preprocessor_config.json"
    preprocessor = read_json(beside) if beside.is_file() and file.name == "config.json" else None
    return read_model(config, preprocessor=preprocessor, where=str(file))


def read_json(file: Path) -> Mapping[str, Any]:
    """One JSON object from a file; :class:`CatalogError` for one that is missing, cut, huge or no object."""
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise CatalogError(
                f"{file.stat().st_size >> 20} MiB is too much for a config.json",
                where=str(file),
                hint="is it the right file?",
            )
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "give a model's directory, its config.json, or a name from the catalog"
        raise CatalogError(f"can't be read: {error.strerror or error}", where=str(file), hint=hint) from error
    except (ValueError, RecursionError) as error:
        hint = "it is cut or damaged; fetch it again"
        raise CatalogError(f"is no JSON: {error}", where=str(file), hint=hint) from error
    if not isinstance(document, dict):
        raise CatalogError("is no JSON object", where=str(file), hint="is this a model's config.json?")
    return document


class _Reader:
    """Whole numbers out of a config, with complaints that name the key."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.config = config
        self.where = where

    def number(self, key: str, *, default: int | None = None) -> int:
        value = self.config.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_DIMENSION:
            said = "is missing" if value is None else f"is {value!r}, which can't be"
            raise CatalogError(f"{key} {said}", where=self.where, hint="the file is cut, or not a model's config.json")
        return value


def _divided(hidden: int, heads: int, where: str) -> int:
    if hidden % heads:
        raise CatalogError(f"hidden_size {hidden} doesn't divide by {heads} attention heads", where=where)
    return hidden // heads


def _experts(reader: _Reader, layout: Mapping[str, Any]) -> Experts | None:
    if not layout.get("experts"):
        return None
    config = reader.config
    spelled = ("num_experts", "num_local_experts", "n_routed_experts")
    key = next((key for key in spelled if key in config), "num_experts")
    width = reader.number("moe_intermediate_size", default=reader.number("intermediate_size"))
    shared = reader.number("shared_expert_intermediate_size", default=0)
    if config.get("n_shared_experts"):
        shared = reader.number("n_shared_experts") * width
    dense = config.get("first_k_dense_replace") or 0
    listed = config.get("mlp_only_layers") or ()
    return Experts(reader.number(key), width, reader.number("num_experts_per_tok"), shared, int(dense) + len(listed))


def _latent(reader: _Reader) -> Latent:
    q_rank = reader.number("q_lora_rank", default=0)
    return Latent(
        kv_rank=reader.number("kv_lora_rank"),
        rope_dim=reader.number("qk_rope_head_dim"),
        nope_dim=reader.number("qk_nope_head_dim"),
        value_dim=reader.number("v_head_dim"),
        q_rank=q_rank or None,
    )


def _vision(
    config: Mapping[str, Any], kind: str, hidden: int, preprocessor: Mapping[str, Any] | None, where: str
) -> Vision:
    raw = config.get("vision_config")
    if not isinstance(raw, Mapping):
        raise CatalogError("vision_config is missing", where=where)
    defaults = read("architectures.json")["towers"][kind]
    tower = _Reader({**defaults, **raw}, where)
    width = tower.number("embed_dim" if kind == "qwen2" else "hidden_size")
    ratio = tower.config.get("mlp_ratio")
    intermediate = int(width * ratio) if kind == "qwen2" and ratio else tower.number("intermediate_size")
    sizes = preprocessor or {}
    stated = sizes.get("size")
    size = stated if isinstance(stated, Mapping) else {}
    least = sizes.get("min_pixels") or size.get("shortest_edge") or defaults["min_pixels"]
    most = sizes.get("max_pixels") or size.get("longest_edge") or defaults["max_pixels"]
    deepstack = tower.config.get("deepstack_visual_indexes") or ()
    return Vision(
        kind=kind,
        depth=tower.number("depth"),
        hidden=width,
        heads=tower.number("num_heads"),
        intermediate=intermediate,
        patch=tower.number("patch_size"),
        merge=tower.number("spatial_merge_size"),
        temporal=tower.number("temporal_patch_size"),
        out=hidden if kind == "qwen2" else tower.number("out_hidden_size", default=hidden),
        min_pixels=int(least),
        max_pixels=int(most),
        positions=tower.number("num_position_embeddings", default=0) if kind == "qwen3" else 0,
        extra_mergers=len(deepstack),
    )


def _is_mrope(text: Mapping[str, Any]) -> bool:
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    return isinstance(rope, Mapping) and "mrope_section" in rope


def _longest(text: Mapping[str, Any], positions: int) -> int:
    """The context that vLLM derives: YaRN, linear and dynamic scaling stretch the positions, llama3 and mrope don't."""
    rope = text.get("rope_scaling")
    if not isinstance(rope, Mapping):
        return positions
    kind = rope.get("rope_type") or rope.get("type")
    factor = rope.get("factor")
    if kind in ("yarn", "linear", "dynamic") and isinstance(factor, (int, float)) and factor > 0:
        base = rope.get("original_max_position_embeddings") if kind == "yarn" else positions
        return int((base if isinstance(base, int) else positions) * factor)
    return positions


def _window(text: Mapping[str, Any]) -> int | None:
    window = text.get("sliding_window")
    used = text.get("use_sliding_window", True)
    return window if used and isinstance(window, int) and window > 0 else None


def _full_layers(text: Mapping[str, Any], layers: int, every: int) -> int | None:
    """How many layers see the whole context where others have a window; None where all are alike."""
    kinds = text.get("layer_types")
    if isinstance(kinds, list) and _window(text):
        return sum(1 for kind in kinds if kind == "full_attention")
    pattern = text.get("sliding_window_pattern") or every
    return layers // pattern if isinstance(pattern, int) and pattern > 1 and _window(text) else None
