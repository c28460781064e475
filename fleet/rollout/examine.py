"""A release held against the one before, gate by gate; and what is kept of the old one to do so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fleet.errors import FleetError, NotHealthy
from fleet.rollout import gates
from fleet.rollout.balancers import Balancers
from fleet.rollout.judge import Limits, Measured, fair
from fleet.rollout.live import Live, same_model
from fleet.rollout.trouble import Cause, trouble
from fleet.settings.rollout import Rollout
from fleet.transport import Transport


class GateFailed(NotHealthy):
    """A gate that said no: which, why, the log lines that matter, and what may be behind them."""

    def __init__(self, verdict: gates.Verdict, message: str, *, where: str) -> None:
        hint = "; ".join(f"{cause.cause}: {cause.todo}" for cause in verdict.causes[:2])
        super().__init__(message, where=where, stderr="\n".join(verdict.lines), hint=hint)
        self.gate = verdict.gate


def remembered(old: Live, measured: Measured) -> dict[str, Any]:
    """What is kept of the old release, as JSON: :func:`examine` takes it back."""
    return {"live": asdict(old), "measured": measured.as_json()}


def seen_by_gateways(balancers: Balancers, host: str, ways: Mapping[str, str], seconds: float = 30) -> None:
    """Wait until every gateway sees these servers of the host healthy, each on its way.

    Raises:
        GateFailed: one of them doesn't after ``seconds``.
    """
    until = time.monotonic() + seconds
    while balancers and (unseen := balancers.unseen(ways)):
        if time.monotonic() > until:
            words = f"it isn't seen healthy by {', '.join(unseen)}"
            raise GateFailed(gates.Verdict("gateway", False, words, seconds), words, where=host)
        time.sleep(0.5)


def examine(
    transport: Transport,
    new: Live,
    told: Mapping[str, Any] | None,
    limits: Rollout,
    heard: Callable[[gates.Verdict], None],
    say: Callable[[str], None],
    *,
    until: str = "",
) -> None:
    """All gates, or those to ``until``; ``heard`` gets each verdict, ``told`` is what is kept of the release before.

    Raises:
        GateFailed: at the first that says no.
        HostError: the host is gone.
    """
    old = _live_of(told["live"]) if told else new
    before = fair(Measured.from_json(told["measured"]), old, new) if told else None
    held_to = Limits(
        limits.max_regression, limits.min_healthy, limits.same_answers, limits.start_deadline or Limits.start_seconds
    )
    for verdict in gates.gates(transport, new, before, bool(told) and same_model(old, new), held_to, say):
        heard(verdict)
        if not verdict.passed:
            raise GateFailed(verdict, f"instance {new.instance}: {verdict.words}", where=transport.name)
        if verdict.gate == until:
            return


def what_the_logs_say(
    transport: Transport, instances: Sequence[str], since: float
) -> tuple[tuple[str, ...], tuple[Cause, ...]]:
    """The lines of the instances' journals that matter, and their causes; none where the host can't be asked."""
    try:
        found = [trouble(transport, instance, since) for instance in instances]
    except FleetError:
        return (), ()
    return tuple(line for t in found for line in t.lines), tuple(cause for t in found for cause in t.causes)


def _live_of(told: Mapping[str, Any]) -> Live:
    return Live(**{**told, "gpus": tuple(told.get("gpus", ()))})
