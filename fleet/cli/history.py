"""``./inv history``: what was changed on the hosts, by whom."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context

from fleet import report
from fleet.audit import read_audit
from fleet.cli.commandline import at_least
from fleet.cli.program import CONNECTING, end_badly_if, verb
from fleet.cli.session import Options, open_session


@verb(common=CONNECTING, help={"last": "How many lines (default 50)"})
def history(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
    last: int = 50,
) -> None:
    """Show what was changed on the hosts: when, by whom, what, why, and how it ended.

    Example: ./inv history --hosts h1 --last 20
    """
    at_least(1, last=last)
    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, (), doing="history", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: read_audit(transport, last))
    lines = sorted(
        (line for found in seen.values() if isinstance(found, list) for line in found), key=lambda x: x["time"]
    )
    if json:
        report.result_json(lines[-last:])
    else:
        columns = ["time", "host", "who", "kind", "resource", "result", "why"]
        report.table(columns, [[line.get(name, "") for name in columns] for line in lines[-last:]])
    end_badly_if(seen)


collection = Collection("history")
collection.add_task(history, name="history", default=True)
