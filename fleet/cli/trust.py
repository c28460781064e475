"""``./inv trust``: show the hosts' keys, and write down those that a person has compared."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.program import confirm, each_as_json, verb
from fleet.cli.session import Options, login_of, open_inventory
from fleet.errors import FleetError


@verb(common="hosts inventory limit json timeout yes")
def trust(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    timeout: float = 10.0,
    yes: bool = False,
) -> None:
    """Show the hosts' keys and, after asking, trust those that are unknown or have changed.

    Example: ./inv trust --hosts gpu-cluster
    """
    from fleet.transport.ssh import remember, scan

    _, chosen = open_inventory(Options(hosts, tuple(inventory or []), limit, json, timeout=float(timeout)))
    seen: dict[str, Any] = {}
    for host in chosen:
        try:
            seen[host.name] = scan(login_of(host, timeout))
        except FleetError as error:
            seen[host.name] = error
    shown = [found for found in seen.values() if not isinstance(found, FleetError)]
    if json:
        report.result_json(each_as_json(seen, lambda key: {"fingerprint": key.fingerprint, "state": key.state}))
    else:
        report.table(["host", "key", "state"], [[s.host, s.fingerprint, s.state] for s in shown])
    failed = [found for found in seen.values() if isinstance(found, FleetError)]
    for problem in failed:  # before the question
        report.error(str(problem))
    new = [s for s in shown if s.state != "known"]
    if new and (not json or yes):
        confirm(f"Trust {len(new)} key(s) that you have compared with the hosts' own?", yes=yes)
        for key in new:
            remember(key)
            report.note(f"{key.host}: written to {key.file}")
    if failed:
        raise Exit(code=1)


collection = Collection("trust")
collection.add_task(trust, name="trust", default=True)
