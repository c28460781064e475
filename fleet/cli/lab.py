"""``lab.up``, ``lab.down``, ``lab.status``: real hosts on this machine, to try everything on."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.program import confirm, verb


@verb(common="json yes")
def up(c: Context, json: bool = False, yes: bool = False) -> None:
    """Raise real hosts (systemd, sshd, apt; simulated GPUs) and what surrounds them: three, or FLEET_LAB_SHAPE=twelve.

    Example: ./inv lab.up && ./inv plan --inventory inventory/lab.yml
    """
    from fleet.lab import lab, machine

    machine.require()
    lacking = machine.missing()
    if lacking:
        confirm(f"Install {', '.join(lacking)} by apt?", yes=yes)
    found = lab.up(lambda text: report.note(f"lab  {text}"))
    _show(found, json=json)
    report.note(f"→ its inventory: export FLEET_INVENTORY={found['inventory']}")


@verb(common="json yes")
def down(c: Context, json: bool = False, yes: bool = False) -> None:
    """End the lab: its hosts, services and networks. Its caches stay.

    Example: ./inv lab.down
    """
    from fleet.lab import lab, machine

    machine.require()
    lab.down(lambda text: report.note(f"lab  {text}"))
    if json:
        report.result_json(lab.status())


@verb(common="json")
def status(c: Context, json: bool = False) -> None:
    """Show the lab's hosts and services. Ends with 1 where it isn't (wholly) up.

    Example: ./inv lab.status
    """
    from fleet.lab import lab

    found = lab.status()
    _show(found, json=json)
    if not found["up"]:
        raise Exit(code=1)


def _show(found: dict[str, Any], *, json: bool) -> None:
    if json:
        report.result_json(found)
        return
    rows = [
        [name, host["address"], host["release"], host["gpus"], host["user"], "up" if host["running"] else "down"]
        for name, host in found["hosts"].items()
    ]
    report.table(["host", "address", "release", "GPUs (simulated)", "login", "state"], rows)
    report.table(["service", "state"], [[name, "up" if on else "down"] for name, on in found["services"].items()])


collection = Collection("lab")
collection.add_task(up)
collection.add_task(down)
collection.add_task(status, default=True)
