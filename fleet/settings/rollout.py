"""How a fleet is rolled out, as its inventory says: the schema of the variable ``rollout``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from fleet import durations
from fleet.counts import Count, counts
from fleet.settings.base import Model


def _seconds(value: object) -> object:
    return durations.seconds(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


def _share(value: object) -> object:
    if isinstance(value, str) and value.strip().endswith("%"):
        return float(value.strip()[:-1]) / 100
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _count(value: object) -> object:
    if isinstance(value, bool):
        return value
    Count.read(value)
    return str(value).strip()


def _counts(value: object) -> object:
    if isinstance(value, bool):
        return value
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    counts(text)
    return text


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=10)]


class Rollout(Model):
    """Waves, limits and deadlines. Lengths of time as ``60s``, ``10m``; shares as ``20%`` or 0.2.

    ``batch``, ``max_unavailable``, ``max_fail`` and ``canaries`` are the run's and must be the same on all its hosts;
    the rest is each host's own.
    """

    batch: Annotated[str, BeforeValidator(_counts)] = "1,5,25%"
    max_unavailable: Annotated[str, BeforeValidator(_count)] = "25%"
    max_fail: Annotated[str, BeforeValidator(_count)] = "0"
    canaries: bool = True
    drain_deadline: Seconds = 600.0  #: for what is being answered to come to its end
    start_deadline: Seconds | None = None  #: until it is healthy; by default what its weights' size lets expect
    min_healthy: Seconds = 60.0  #: how long the new release must run without a restart, an OOM or an Xid
    max_regression: Share = 0.2  #: how much slower it may be than the one before
    same_answers: Share = 0.75  #: of the fixed prompts, where model and quantisation stay
