"""A model as its ``config.json`` describes it: shapes, nothing from its name.

The families are rows of ``data/architectures.json``: which architectures share a layout, which of their parts
have a bias or a norm. An architecture that isn't there is an :class:`UnknownArchitecture`: no number is guessed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.errors import CatalogError
from fleet.sizing.config import Reader, full_layers, is_mrope, longest_context, read_json, window
from fleet.sizing.data import read
from fleet.sizing.quantization import Quantization, read_quantization
from fleet.sizing.vision import Vision, read_vision


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
    try:
        return _read(config, preprocessor, where)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        hint = "the file is damaged, or not a model's config.json"
        raise CatalogError(f"a value in it can't be: {error}", where=where, hint=hint) from error


def _read(config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None, where: str) -> Model:
    name = _architecture(config, where)
    known = read("architectures.json")
    family = known["architectures"].get(name)
    if family is None:
        raise UnknownArchitecture(f"architecture {name} isn't known here", where=where)
    nested = config.get(family.get("text", "text_config"))
    text = {**config, **nested} if isinstance(nested, Mapping) else config
    if "layout" not in family:  # the text model says itself what it is
        inner = known["architectures"].get(_architecture(nested, where) if isinstance(nested, Mapping) else "")
        if inner is None or "layout" not in inner:
            raise UnknownArchitecture(f"the text model of {name} isn't known here", where=where)
        family = {**inner, **family}
    layout = known["layouts"][family["layout"]]
    text = {**layout.get("defaults", {}), **text}
    reader = Reader(text, where)
    hidden = reader.number("hidden_size")
    heads = reader.number("num_attention_heads")
    latent = _latent(reader) if layout.get("latent") else None
    head_dim = reader.number("head_dim", default=0) or _divided(hidden, heads, where)
    kv_heads = reader.number("num_key_value_heads", default=heads)
    if heads % kv_heads and latent is None:
        raise CatalogError(f"{heads} attention heads don't divide by {kv_heads} KV heads", where=where)
    positions = reader.number("max_position_embeddings", default=2048)
    vision = read_vision(config, family["vision"], hidden, preprocessor, where) if "vision" in family else None
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
        max_positions=longest_context(text, positions),
        rope_positions=positions * (4 if is_mrope(text) else 1),
        dtype=str(text.get("torch_dtype") or text.get("dtype") or config.get("torch_dtype") or "bfloat16"),
        qkv_bias=bias or bool(layout.get("qkv_bias", False)),
        out_bias=bias and bool(layout.get("out_bias", False)),
        mlp_bias=bool(text.get("mlp_bias", False)),
        qk_norm=bool(text.get("use_qk_norm", layout.get("qk_norm", False))),
        norms=int(layout.get("norms", 2)),
        experts=_experts(reader, layout),
        latent=latent,
        vision=vision,
        quantization=read_quantization(config, where),
        sliding_window=window(text),
        full_layers=full_layers(text, reader.number("num_hidden_layers"), int(layout.get("full_every", 1))),
        where=where,
    )


def load_model(path: Path) -> Model:
    """The model in a directory or a ``config.json``; a ``preprocessor_config.json`` beside it is read too."""
    file = path / "config.json" if path.is_dir() else path
    config = read_json(file)
    beside = file.parent / "preprocessor_config.json"
    preprocessor = read_json(beside) if beside.is_file() and file.name == "config.json" else None
    return read_model(config, preprocessor=preprocessor, where=str(file))


def _architecture(config: Mapping[str, Any], where: str) -> str:
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures:
        raise CatalogError("no architectures in it", where=where, hint="is this a model's config.json?")
    return str(architectures[0])


def _divided(hidden: int, heads: int, where: str) -> int:
    if hidden % heads:
        raise CatalogError(f"hidden_size {hidden} doesn't divide by {heads} attention heads", where=where)
    return hidden // heads


def _experts(reader: Reader, layout: Mapping[str, Any]) -> Experts | None:
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


def _latent(reader: Reader) -> Latent:
    q_rank = reader.number("q_lora_rank", default=0)
    return Latent(
        kv_rank=reader.number("kv_lora_rank"),
        rope_dim=reader.number("qk_rope_head_dim"),
        nope_dim=reader.number("qk_nope_head_dim"),
        value_dim=reader.number("v_head_dim"),
        q_rank=q_rank or None,
    )
