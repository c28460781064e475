"""How a release answers, and how fast: asked of the old one before it is stopped, and of the new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from fleet.errors import CommandFailed
from fleet.rollout.ask import ask
from fleet.rollout.judge import Measured
from fleet.rollout.live import Live
from fleet.transport import Transport

_UNCOUNTED: Final = "vLLM counts them unless it was told --disable-log-stats: take that out of `args`"
_DATA: Final = Path(__file__).parent / "data"


def measure(transport: Transport, live: Live, *, timeout: float = 240.0) -> Measured:
    """Its answers to the fixed prompts, and its speed: one command.

    Raises:
        HostError: it can't be asked.
    """
    found = ask(transport, live, "answers", "speed", seconds=timeout, prompts=prompts(live.vision))
    return read_measured(found)


def measure_speed(transport: Transport, live: Live, *, timeout: float = 240.0) -> Measured:
    """Its speed alone.

    Raises:
        HostError: it can't be asked.
    """
    return read_measured(ask(transport, live, "speed", seconds=timeout))


def read_measured(found: Mapping[str, Any]) -> Measured:
    """What the script said to ``answers`` and ``speed``.

    Of several streams the best of each counts: whatever else runs on the machine only ever makes them slower, so the
    best is the nearest to what the server itself can do, and the one that comes out alike from time to time.
    """
    tokens = (found.get("answers") or {}).get("tokens") or {}
    streams = found.get("speed") or []
    return Measured(
        {str(name): tuple(map(str, said)) for name, said in tokens.items()},
        min((float(stream["first"]) for stream in streams), default=None),
        max((float(stream["pace"]) for stream in streams if stream["pace"] > 0), default=None),
    )


def in_flight(transport: Transport, live: Live, *, wait: float = 0.0) -> int:
    """How many requests run and wait in the server, by its own count; with ``wait``, after up to so many seconds.

    It waits inside the container until there are none, which is one command instead of many. A request that the server
    took a moment ago (its picture is still being read) isn't counted yet: first see that no new ones come.

    Raises:
        HostError: it can't be asked, or has no such numbers.
    """
    found = ask(transport, live, "busy", seconds=wait + 30, wait=wait).get("busy") or {}
    if found.get("count") is None:
        said = found.get("status") or "no answer"
        raise CommandFailed(
            f"{live.instance} doesn't say how many requests it has: {said} from /metrics",
            command="GET /metrics",
            status=1,
            stderr=str(found.get("body", "")),
            where=transport.name,
            hint=_UNCOUNTED if said == 200 else "see ./inv status",
        )
    return int(found["count"])


@cache
def _all_prompts() -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads((_DATA / "prompts.json").read_text(encoding="utf-8"))["prompts"])


def prompts(vision: bool) -> list[Mapping[str, Any]]:
    """The fixed prompts that such a model can be asked."""
    return [prompt for prompt in _all_prompts() if vision or "image" not in prompt]
