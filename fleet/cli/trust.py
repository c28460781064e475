"""``./inv trust``: show the hosts' keys, and write down those that a person has compared."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.program import confirm, verb
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
    shown, failed = [], []
    for host in chosen:
        try:
            shown.append(scan(login_of(host, timeout)))
        except FleetError as error:
            failed.append(error)
    if json:
        report.result_json({s.host: {"fingerprint": s.fingerprint, "state": s.state} for s in shown})
    else:
        report.table(["host", "key", "state"], [[s.host, s.fingerprint, s.state] for s in shown])
    for problem in failed:
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
