"""``./inv verify``: whether hosts and instances are, and answer, as the inventory wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.program import verb
from fleet.cli.session import Options, open_session

if TYPE_CHECKING:
    from fleet.verify import Verified


@verb(
    common="hosts inventory limit json forks timeout",
    help={"junit": "Also write the results to FILE, in JUnit's form, for CI"},
)
def verify(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    junit: str = "",
) -> None:
    """Check hosts and instances from outside and inside: GPUs, units, ports, answers, keys, files. Changes nothing.

    Example: ./inv verify --hosts gpu-cluster --junit verify.xml
    """
    from fleet.verify import Checks, targets  # imported where it pays: pytest and Testinfra take half a second
    from fleet.verify import verify as run_checks

    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, (), doing="verify") as session:
        seen = targets(session.crew, session.settings, session.lookups, session.progress)
        found = run_checks(Checks(session.crew, seen, session.settings), junit=junit)
    if json:
        report.result_json(found.as_json())
    else:
        _show(found)
    if found.count("failed"):
        raise Exit(code=1)


def _show(found: Verified) -> None:
    """How many checks of each host ended how, then every failure with its reason."""
    outcomes = ("passed", "failed", "skipped")
    counted = [(host, *(list(checks.values()).count(end) for end in outcomes)) for host, checks in found.hosts.items()]
    report.table(["host", *outcomes], counted)
    failures = [
        (host, check, found.reasons[host][check])
        for host, checks in found.hosts.items()
        for check, outcome in checks.items()
        if outcome == "failed"
    ]
    if failures:
        report.result("")
        report.table(["host", "failed check", "why"], failures)
    report.result(f"Verify: {', '.join(f'{found.count(end)} {end}' for end in outcomes)}.")


collection = Collection("verify")
collection.add_task(verify, name="verify", default=True)
