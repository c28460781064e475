"""How a checkpoint's weights are stored, read from ``quantization_config``; bytes of a quantised matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.errors import CatalogError


@dataclass(frozen=True)
class Quantization:
    """One storage of weights. ``group`` is the number of inputs that share a scale (-1: one a column)."""

    method: str
    bits: int
    group: int = -1
    zeros: bool = False
    zero_bits: int | None = None  # as the kernel keeps them; None: packed as the weights are
    act_order: bool = False
    double: bool = False
    block: tuple[int, int] | None = None
    ignored: tuple[str, ...] = ()
    at_load: bool = False  # quantised by vLLM while loading an unquantised checkpoint

    def pieces(self, inputs: int, outputs: int) -> tuple[int, ...]:
        """Bytes of each tensor that stores one ``inputs`` × ``outputs`` matrix: packed values, scales, zero points."""
        packed = math.ceil(inputs * outputs * self.bits / 8)
        if self.method == "bitsandbytes" and self.bits == 4:
            blocks = math.ceil(inputs * outputs / 64)  # one absmax for 64 weights, itself quantised to a byte or not
            return (packed, blocks + 4 * math.ceil(blocks / 256) if self.double else 4 * blocks)
        if self.block is not None:
            return (packed, 4 * math.ceil(inputs / self.block[0]) * math.ceil(outputs / self.block[1]))
        if self.group <= 0 or self.method == "bitsandbytes":
            return (packed, 4 * outputs)
        groups = math.ceil(inputs / self.group)
        zeros = (math.ceil(groups * outputs * (self.zero_bits or self.bits) / 8),) if self.zeros else ()
        order = (4 * inputs,) if self.act_order else ()
        return (packed, 2 * groups * outputs, *zeros, *order)

    def ignores(self, component: str) -> bool:
        """Whether this part of the model (``vision``, ``attention``, ``mlp``…) is kept in 16 bits."""
        if component == "vision":
            # AWQ and GPTQ towers are never packed: their MLP isn't a multiple of any group (3420).
            return self.method in ("awq", "gptq") or any("vis" in name for name in self.ignored)
        return any(name.rstrip("$").endswith(component) for name in self.ignored)


def read_quantization(config: Mapping[str, Any], where: str = "config.json") -> Quantization | None:
    """The quantisation that a ``config.json`` states, at its top or in ``text_config``; None when it states none.

    Raises :class:`CatalogError` for a ``quantization_config`` that can't be read.
    """
    raw = config.get("quantization_config") or _nested(config).get("quantization_config")
    if not raw:
        return None
    if not isinstance(raw, Mapping):
        raise CatalogError("quantization_config is no object", where=where)
    method = str(raw.get("quant_method", "")).lower()
    ignored = tuple(str(name) for name in (raw.get("modules_to_not_convert") or raw.get("ignore") or ()))
    if method in ("awq", "gptq", "awq_marlin", "gptq_marlin", "auto-round", "intel/auto-round"):
        bits = _number(raw, "bits", raw.get("w_bit", 4), where)
        group = _number(raw, "group_size", raw.get("q_group_size", 128), where)
        base = "awq" if method.startswith("awq") else "gptq"
        return Quantization(base, bits, group, zeros=True, act_order=bool(raw.get("desc_act")), ignored=ignored)
    if method in ("fp8", "fbgemm_fp8", "modelopt"):
        block = raw.get("weight_block_size")
        size = (int(block[0]), int(block[1])) if isinstance(block, list) and len(block) == 2 else None
        return Quantization("fp8", 8, block=size, ignored=ignored)
    if method == "compressed-tensors":
        return _compressed(raw, ignored, where)
    if method == "bitsandbytes":
        eight = bool(raw.get("load_in_8bit"))
        return Quantization(
            "bitsandbytes", 8 if eight else 4, 64, double=bool(raw.get("bnb_4bit_use_double_quant")), ignored=ignored
        )
    raise CatalogError(
        f"quantization method {method!r} isn't known here",
        where=where,
        hint="weights can still be taken from the sizes of the files; nothing is said about KV cache or kernels",
    )


def at_load(method: str) -> Quantization | None:
    """What ``--quantization METHOD`` does to an unquantised checkpoint; None where it needs a quantised one."""
    return {
        "fp8": Quantization("fp8", 8, at_load=True),
        "bitsandbytes": Quantization("bitsandbytes", 4, 64, at_load=True),
    }.get(method)


def _compressed(raw: Mapping[str, Any], ignored: tuple[str, ...], where: str) -> Quantization:
    groups = raw.get("config_groups") or {}
    weights = next((g.get("weights") for g in groups.values() if isinstance(g, Mapping) and g.get("weights")), None)
    if not isinstance(weights, Mapping):
        raise CatalogError("compressed-tensors without weights in its config_groups", where=where)
    bits = _number(weights, "num_bits", 8, where)
    if weights.get("strategy") == "block":
        size = weights.get("block_structure") or [128, 128]
        return Quantization("compressed-tensors", bits, block=(int(size[0]), int(size[1])), ignored=ignored)
    group = _number(weights, "group_size", -1, where) if weights.get("strategy") == "group" else -1
    return Quantization("compressed-tensors", bits, group, zeros=not weights.get("symmetric", True), ignored=ignored)


def _nested(config: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else {}


def _number(raw: Mapping[str, Any], key: str, default: object, where: str) -> int:
    value = raw.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int):
        raise CatalogError(f"quantization_config: {key} is {value!r}, not a whole number", where=where)
    return value
