"""One case under judgement: everything that a rule may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.sizing.gpus import Gpu
from fleet.sizing.memory import Memory
from fleet.sizing.model import Model
from fleet.sizing.settings import Arguments, Settings


@dataclass(frozen=True)
class Case:
    """A model, GPUs, arguments as given and the settings that they come to; ``memory`` once it was divided."""

    model: Model
    gpu: Gpu
    count: int
    args: Arguments
    settings: Settings
    env: Mapping[str, str] = field(default_factory=dict)
    host_memory_gib: float | None = None
    driver: str | None = None
    cuda: str | None = None
    memory: Memory | None = None
