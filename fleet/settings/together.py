"""The settings of all hosts, or every problem of every host at once, each problem once."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.errors import Findings, FleetError, InputError
from fleet.settings.check import STEP, VariableSource, settings_of
from fleet.settings.schema import HostSettings


def all_settings(
    hosts: Sequence[VariableSource], *, gateway: bool = False
) -> tuple[dict[str, HostSettings], list[str]]:
    """The settings of all ``hosts``, by name, and the warnings; every problem of every host at once.

    Raises:
        Findings: what is wrong, each problem once (hosts that share a group share its lines).
    """
    settings: dict[str, HostSettings] = {}
    warnings: list[str] = []
    problems: dict[str, InputError] = {}
    having: dict[str, list[str]] = {}
    for host in hosts:
        try:
            settings[host.name], said = settings_of(host, gateway=gateway)
            warnings.extend(w for w in said if w not in warnings)
        except InputError as error:
            for one in error.errors if isinstance(error, Findings) else (error,):
                problems.setdefault(_key(one), one)
                having.setdefault(_key(one), []).append(host.name)
    for key, problem in problems.items():
        if problem.hint.startswith(STEP):
            problem.hint = STEP + _some(having[key])
    if problems:
        raise Findings(list(problems.values()))
    return settings, warnings


def _some(names: Sequence[str]) -> str:
    """A few names, and how many there are where that is more."""
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} hosts: {', '.join(names[:3])} …"


def _key(error: FleetError) -> str:
    return f"{error.where}: {error.message}"
