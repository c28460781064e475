"""Which GPUs would carry a load: for each kind the settings that ``auto`` chooses, and a bound on their rate.

The rate is a roofline, not a measurement: reading the weights and the KV cache once a step at the memory's bandwidth,
computing the prompt at the tensor cores' speed, each at the share of the peak that serving reaches
(:data:`EFFICIENCY`). It orders GPUs and tells 2 from 20; it doesn't replace a load test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import CatalogError
from fleet.sizing import Answer, Gpu, Model, Request, size
from fleet.sizing.activation import GIB
from fleet.sizing.config import read_json
from fleet.sizing.data import read
from fleet.sizing.gpus import gpus
from fleet.sizing.settings import Arguments
from fleet.sizing.tensors import tensors

#: Of the peak bandwidth and of the peak of the tensor cores, what continuous batching is taken to reach.
EFFICIENCY = {"bandwidth": 0.6, "compute": 0.4}
COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Load:
    """Requests a second, each of ``context`` tokens in all, ``output`` of them generated."""

    rate: float
    context: int
    output: int


@dataclass(frozen=True)
class Offer:
    """One way to carry the load: servers of ``per_server`` GPUs each, and what they cost an hour (None: no price)."""

    gpu: Gpu
    per_server: int
    servers: int
    rate_each: float
    answer: Answer
    price: float | None

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.servers * self.per_server


def prices(path: Path | None) -> tuple[Mapping[str, float], str]:
    """``(price of a GPU's hour by catalog name, where they are from)``: the user's JSON file, or the dated examples.

    Raises :class:`CatalogError` for a file that isn't an object of names and numbers.
    """
    if path is None:
        document = read("prices.json")
        return document["per_hour"], f"examples, {document['date']}, {document['currency']}"
    hint = 'a JSON file of GPU names and prices: {"A10": 1.2, "T4": 0.6}'
    table = read_json(path, hint)
    found = table.get("per_hour", table)
    if not isinstance(found, Mapping) or any(
        isinstance(v, bool) or not isinstance(v, (int, float)) for v in found.values()
    ):
        raise CatalogError("prices are no object of GPU names and numbers", where=str(path), hint=hint)
    return found, str(path)


def offers(model: Model, load: Load, version: str, cost: Mapping[str, float]) -> Iterator[Offer]:
    """For every kind of GPU the smallest server that runs the model with this context, and how many carry the load."""
    for kind in gpus():
        for count in COUNTS:
            offer = _offer(model, load, version, kind, count, cost)
            if offer is not None:
                yield offer
                break


def _offer(model: Model, load: Load, version: str, kind: Gpu, count: int, cost: Mapping[str, float]) -> Offer | None:
    if load.context > model.max_positions:
        return None
    answer = size(Request(model, kind, count, version, {"max-model-len": load.context}, auto=True))
    if answer.verdict != "runs":
        return None
    width = count // max(1, answer.instances)
    each = rate(model, kind, answer, width, load) * answer.instances
    if each <= 0:
        return None
    servers = max(1, math.ceil(load.rate / each))
    price = cost.get(kind.name)
    return Offer(kind, count, servers, each, answer, None if price is None else servers * count * float(price))


def rate(model: Model, kind: Gpu, answer: Answer, width: int, load: Load) -> float:
    """Requests a second that one server of ``width`` GPUs is bound by; 0 where the GPU's speed isn't known."""
    if kind.gb_per_s is None or kind.tflops_16bit is None or not answer.kv_tokens:
        return 0.0
    seqs = Arguments(answer.args).number("max-num-seqs") or 256
    at_once = max(1, min(answer.kv_tokens // load.context, seqs))
    bandwidth = kind.gb_per_s * 1e9 * width * EFFICIENCY["bandwidth"]
    compute = kind.tflops_16bit * 1e12 * width * EFFICIENCY["compute"]
    weights = (answer.per_gpu.weights_gib or 0) * GIB * width
    active = active_parameters(model)
    read_ = weights + at_once * load.context * (answer.kv_bytes_per_token or 0)
    step = max(read_ / bandwidth, 2 * active * at_once / compute)
    prompt = 2 * active * (load.context - load.output) / compute
    return 1 / (prompt + load.output * step / at_once)


def active_parameters(model: Model) -> int:
    """Parameters that one token meets: of a mixture, its experts only; without tower and embedding."""
    count = 0
    for tensor in tensors(model, vision=False):
        share = model.experts.per_token / model.experts.count if tensor.copies > 1 and model.experts else 1.0
        count += 0 if tensor.component == "embedding" else int(tensor.parameters * share)
    return count
