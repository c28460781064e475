"""The vision tower of a model: its shapes, how large images may be, and how many tokens the largest item has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.errors import CatalogError
from fleet.sizing.config import Reader
from fleet.sizing.data import read


@dataclass(frozen=True)
class Vision:
    """The vision tower. ``kind`` names its layout (``data/architectures.json``); widths in features, sizes in pixels.

    Towers of one size (``tokens`` above 0) cut an image into ``tiles`` of ``patches`` each; the others take images as
    large as ``max_pixels``.
    """

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
    tokens: int = 0
    patches: int = 0
    tiles: int = 1
    video: bool = True

    @property
    def patch_values(self) -> int:
        """Values of one patch as it enters the tower: channels × frames × patch²."""
        return self.channels * self.temporal * self.patch * self.patch

    @property
    def tile(self) -> int:
        """The side of the square of pixels that becomes one token, where images may be of any size."""
        return self.patch * self.merge

    def image_tokens(self, max_pixels: int) -> int:
        """Tokens of the largest image: all tiles, or a square of at most ``max_pixels`` in steps of one token."""
        if self.tokens:
            return self.tokens * self.tiles
        return max(1, math.isqrt(max_pixels) // self.tile) ** 2

    def patches_of(self, tokens: int) -> int:
        """Patches that the tower works on for so many tokens."""
        return math.ceil(tokens * self.patches / self.tokens) if self.tokens else tokens * self.merge**2


def read_vision(
    config: Mapping[str, Any], kind: str, hidden: int, preprocessor: Mapping[str, Any] | None, where: str
) -> Vision:
    """The tower that ``vision_config`` describes; ``hidden`` is the text model's width."""
    raw = config.get("vision_config")
    if not isinstance(raw, Mapping):
        raise CatalogError("vision_config is missing", where=where)
    defaults = read("architectures.json")["towers"][kind]
    tower = Reader({**defaults, **raw}, where)
    if "image_size" in defaults:
        return _fixed(config, kind, tower, hidden)
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


def _fixed(config: Mapping[str, Any], kind: str, tower: Reader, hidden: int) -> Vision:
    """A tower whose images have one size, or are cut into tiles of one size."""
    patch = tower.number("patch_size")
    grid = tower.number("image_size") // patch
    merge = int(config.get("spatial_merge_size") or tower.number("merge", default=1))
    tokens = {"siglip": int(config.get("mm_tokens_per_image") or 256)}.get(kind, (grid // merge) ** 2)
    tiles = 1
    if kind == "intern":
        tiles = int(config.get("max_dynamic_patch") or 12) + (1 if config.get("use_thumbnail", True) else 0)
    extra = 1 if kind == "intern" else 0  # the class token
    return Vision(
        kind=kind,
        depth=tower.number("num_hidden_layers"),
        hidden=tower.number("hidden_size"),
        heads=tower.number("num_attention_heads"),
        intermediate=tower.number("intermediate_size"),
        patch=patch,
        merge=merge,
        temporal=1,
        out=hidden,
        positions=0 if kind == "pixtral" else grid**2 + extra,
        tokens=tokens,
        patches=grid**2 + extra,
        tiles=tiles,
        video=kind == "intern",
    )
