"""What a rollout was told: the inventory's ``rollout``, and what the command line says instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from fleet import durations
from fleet.counts import Count, counts
from fleet.errors import SettingsError, UsageError
from fleet.settings.rollout import Rollout

_OF_THE_RUN: Final = ("batch", "max_unavailable", "max_fail", "canaries")


@dataclass(frozen=True)
class Options:
    """One rollout's options; ``said`` are those of the command line that stand over each host's own."""

    batch: str = "1,5,25%"
    max_unavailable: str = "25%"
    max_fail: str = "0"
    canaries: bool = True
    pause: bool = False
    allow_downtime: bool = False
    said: Mapping[str, float] | None = None

    @property
    def sizes(self) -> tuple[Count, ...]:
        """The waves' sizes; the last one stands for all waves that come after."""
        return counts(self.batch)

    @property
    def most_unavailable(self) -> Count:
        """How many may be away at once."""
        return Count.read(self.max_unavailable)

    def failures_allowed(self, hosts: int) -> int:
        """How many of ``hosts`` may fail before the rollout stops."""
        return Count.read(self.max_fail).at_most(hosts)

    def of_host(self, told: Rollout) -> Rollout:
        """A host's own limits under what the command line says."""
        return told.model_copy(update=dict(self.said or {}))

    def as_json(self) -> dict[str, Any]:
        """For the journal: what a resume goes on with."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Options:
        """Back from the journal; what an older version didn't know is as by default."""
        known = {name: told[name] for name in cls.__dataclass_fields__ if name in told}
        return cls(**known)


def combined(
    told: Mapping[str, Rollout], said: Mapping[str, str], *, pause: bool = False, allow_downtime: bool = False
) -> Options:
    """The run's options from all its hosts' ``rollout`` and the command line's texts (empty ones say nothing).

    Raises:
        UsageError: a text that is none of its kind.
        SettingsError: hosts disagree on what is the run's.
    """
    run: dict[str, Any] = {}
    for name in _OF_THE_RUN:
        if said.get(name):
            run[name] = said[name]
            continue
        values = {getattr(rollout, name): host for host, rollout in told.items()}
        if len(values) > 1:
            words = ", ".join(f"{value!r} on {host}" for value, host in values.items())
            raise SettingsError(
                f"rollout.{name} differs between the hosts of one rollout: {words}",
                hint=f"say it once for all in group_vars, or --{name.replace('_', '-')}",
            )
        run[name] = next(iter(values), getattr(Options, name))
    limits = {}
    for name in ("drain_deadline", "start_deadline", "min_healthy"):
        if said.get(name):
            limits[name] = _read(durations.seconds, said[name], name)
    for name in ("max_regression", "same_answers"):
        if said.get(name):
            limits[name] = _read(_share, said[name], name)
    for name, check in (("batch", counts), ("max_unavailable", Count.read), ("max_fail", Count.read)):
        _read(check, run[name], name)
    return Options(**run, pause=pause, allow_downtime=allow_downtime, said=limits)


def _read(kind: Callable[[str], Any], text: str, name: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise UsageError(str(error), where=f"--{name.replace('_', '-')}") from error


def _share(text: str) -> float:
    bare = text.strip().removesuffix("%").strip()
    if not bare.isdigit() or int(bare) > 1000:
        msg = f"{text!r} is no percentage, e.g. 20%"
        raise ValueError(msg)
    return int(bare) / 100
