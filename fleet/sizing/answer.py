"""The question and the answer of sizing, as plain values; :meth:`Answer.as_json` is the contract of ``size --json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fleet.sizing.gpus import Gpu
from fleet.sizing.model import Model

Verdict = Literal["runs", "refused", "unknown"]
ReasonLevel = Literal["refuse", "warn", "set"]
Aim = Literal["throughput", "latency", "context"]
AIMS: tuple[Aim, ...] = ("throughput", "latency", "context")


@dataclass(frozen=True)
class Request:
    """Will this model run on these GPUs, and how?

    ``model`` is a catalog name, a parsed config.json, or a :class:`Model`. ``args`` are vLLM's options by name without
    dashes, values as YAML or as text; None lets ``auto`` choose under ``aim``. ``auto`` beside ``args`` keeps what is
    given and fills in the rest. ``weight_bytes`` (the files' sizes) helps where the architecture isn't known.
    """

    model: str | Mapping[str, Any] | Model
    gpu: Gpu
    count: int = 1
    version: str = "0.8.2"
    args: Mapping[str, object] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    aim: Aim = "throughput"
    auto: bool = False
    whole: bool = False  # one server shall take all of the GPUs, where the model divides over them
    preprocessor: Mapping[str, Any] | None = None
    host_memory_gib: float | None = None
    driver: str | None = None
    cuda: str | None = None
    weight_bytes: int | None = None
    refused_words: tuple[str, ...] = ()  # what no parser would take: stray words, a value missing


@dataclass(frozen=True)
class Reason:
    """One rule that applied: its id, what it does to the verdict, in words, and where that is known from."""

    rule: str
    level: ReasonLevel
    words: str
    source: str

    def as_json(self) -> dict[str, str]:
        """The reason as the contract has it."""
        return {"rule": self.rule, "level": self.level, "words": self.words, "source": self.source}


@dataclass(frozen=True)
class PerGpu:
    """One GPU of one server, in GiB (2^30 bytes); None: not known."""

    total_gib: float | None = None
    budget_gib: float | None = None
    weights_gib: float | None = None
    activation_gib: float | None = None
    non_torch_gib: float | None = None
    cuda_graph_gib: float | None = None
    kv_gib: float | None = None
    headroom_gib: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """The numbers, rounded to a thousandth of a GiB."""
        return {name: None if value is None else round(value, 3) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Answer:
    """What was found. ``args`` and ``env`` are complete: what to pass to ``vllm serve`` after the model."""

    verdict: Verdict
    vllm: str
    engine: str | None = None
    reasons: tuple[Reason, ...] = ()
    args: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    instances: int = 0
    per_gpu: PerGpu = field(default_factory=PerGpu)
    kv_bytes_per_token: int | None = None
    kv_tokens: int | None = None
    max_model_len: int | None = None
    concurrency: float | None = None
    parts: Mapping[str, int] = field(default_factory=dict)  # bytes of weights on one GPU, by component; not in the JSON
    layers: int = 0  # of the text model on one GPU
    alternatives: tuple[Answer, ...] = ()

    @property
    def refusals(self) -> tuple[Reason, ...]:
        """The reasons that refuse."""
        return tuple(reason for reason in self.reasons if reason.level == "refuse")

    def as_json(self, *, nested: bool = False) -> dict[str, Any]:
        """The document of ``size --json``; an alternative (``nested``) is the same without alternatives."""
        document: dict[str, Any] = {
            "verdict": self.verdict,
            "engine": self.engine,
            "vllm": self.vllm,
            "reasons": [reason.as_json() for reason in self.reasons],
            "args": dict(self.args),
            "env": dict(self.env),
            "instances": self.instances,
            "per_gpu": self.per_gpu.as_json(),
            "kv_bytes_per_token": self.kv_bytes_per_token,
            "kv_tokens": self.kv_tokens,
            "max_model_len": self.max_model_len,
            "concurrency": None if self.concurrency is None else round(self.concurrency, 2),
        }
        if not nested:
            document["alternatives"] = [answer.as_json(nested=True) for answer in self.alternatives]
        return document
