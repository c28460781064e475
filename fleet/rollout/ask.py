"""Ask an instance's server inside its container: one command, however much is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from fleet.errors import CommandFailed
from fleet.rollout.live import Live
from fleet.shell import PREAMBLE, quote
from fleet.transport import Transport

SCRIPT: Final = (Path(__file__).parent / "scripts" / "in_container.py").read_bytes()
#: What the connection and the start of python3 may take beside the script's own time.
_MORE: Final = 20.0


def command(live: Live, *what: str, seconds: float, **told: Any) -> str:
    """The command that asks ``what`` (functions of the script); the script itself goes on its standard input."""
    job = {"url": live.url, "name": live.served_name, "what": what, "seconds": seconds, **told}
    words = f"docker exec --interactive {quote(live.container)} python3 - {quote(json.dumps(job))}"
    return f"timeout {seconds + _MORE / 2:.0f} {words}"


def ask(transport: Transport, live: Live, *what: str, seconds: float, **told: Any) -> dict[str, Any]:
    """What came of each question.

    Raises:
        CommandFailed: the container or its python3 can't be asked, or no answer came in time.
        HostError: the host can't be reached.
    """
    run = f"{PREAMBLE}\n{command(live, *what, seconds=seconds, **told)}"
    reply = transport.run(run, SCRIPT, timeout=seconds + _MORE)
    found = answer(reply.stdout)
    if found is None:
        late = reply.status in (-1, 124, 142)  # our own time-out, the host's, and the script's (SIGALRM)
        last = (reply.stderr.strip().splitlines() or [""])[-1]
        why = f"no answer within {seconds:.0f} s" if late else last or f"python3 ended with {reply.status}"
        raise CommandFailed(
            f"{live.container} can't be asked: {why}",
            command=f"docker exec {live.container} python3",
            status=reply.status,
            stderr=reply.stderr,
            where=transport.name,
        )
    return found


def answer(text: str) -> dict[str, Any] | None:
    """The script's answer, or None where it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
