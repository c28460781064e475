"""What was changed on a host, by whom, when: one JSON line each, on the host (for root alone) and here."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from functools import cache
from typing import Any, Final

from fleet import report
from fleet.home import home
from fleet.lock import Owner
from fleet.resource import Change
from fleet.shell import PREAMBLE
from fleet.transport import Transport

AUDIT: Final = "/var/lib/fleet/audit.log"


def write(transport: Transport, change: Change, owner: Owner, run: str, result: str) -> None:
    """Append one line on the host and here; ``result`` is ``done`` or ``failed``.

    The line here is a copy: a disk that is full here stops nothing in the middle of a change, and is said once.
    """
    line = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "who": owner.who,
        "run": run,
        "host": transport.name,
        "resource": change.id,
        "kind": change.kind,
        "why": change.why,
        "result": result,
    }
    text = json.dumps(line, ensure_ascii=False) + "\n"
    try:
        with (home() / "audit.log").open("a", encoding="utf-8") as file:  # one write of one line: whole beside others
            file.write(text)
    except OSError as error:
        _say_once(f"changes can't be written down on this machine (they are on their hosts): {error}")
    transport.run(f"{PREAMBLE}; mkdir -p /var/lib/fleet; cat >> {AUDIT}", text.encode())


@cache
def _say_once(words: str) -> None:
    report.warn(words)


def read_audit(transport: Transport, last: int) -> list[dict[str, Any]]:
    """The last lines, oldest first; a line that a crash cut off is left out."""
    reply = transport.run(f"tail -n {int(last)} {AUDIT} 2>/dev/null || true")
    lines = []
    for text in reply.stdout.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "time" in line:
            lines.append(line)
    return lines
