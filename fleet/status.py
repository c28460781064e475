"""What serves on a host, and how it is: one command, nothing changed."""

from __future__ import annotations

from typing import Any

from fleet import releases
from fleet.errors import CommandFailed
from fleet.shell import PREAMBLE
from fleet.transport import Transport

#: ``unit+=INSTANCE STATE RESTARTS``, ``runs+=INSTANCE RELEASE`` of each container of ours; then the releases.
_SCRIPT = f"""{PREAMBLE}
for d in /etc/fleet/instances/*/; do
  [ -d "$d" ] || continue
  i=$(basename "$d"); u=fleet-$i.service
  show() {{ systemctl show "$u" -p "$1" --value; }}
  printf 'unit+=%s %s %s\\n' "$i" "$(show ActiveState)" "$(show NRestarts)"
done
timeout 20 docker ps --filter label=fleet.instance \\
  --format 'runs+={{{{.Label "fleet.instance"}}}} {{{{.Label "fleet.release"}}}}' 2>/dev/null
( {releases.SCRIPT} )
echo end=yes"""


def read_status(transport: Transport) -> dict[str, dict[str, Any]]:
    """Instance → state (``serving``, ``starting``, ``failed``, ``stopped``, …), release, model, port, gpus, restarts.

    ``serving`` means: its unit is active, its container runs the current release, and that was seen healthy.

    Raises:
        HostError: the host can't be asked.
    """
    reply = transport.run(_SCRIPT, timeout=60)
    if "end=yes" not in reply.stdout:
        raise CommandFailed(
            "its status can't be read",
            command="(status)",
            status=reply.status,
            stderr=reply.stderr,
            where=transport.name,
        )
    units: dict[str, tuple[str, str]] = {}
    runs: dict[str, str] = {}
    for line in reply.stdout.splitlines():
        kind, _, words = line.partition("+=")
        parts = [*words.split(" "), "", ""]
        if kind == "unit":
            units[parts[0]] = (parts[1], parts[2])
        elif kind == "runs":
            runs[parts[0]] = parts[1]
    known = releases.read(reply.stdout)
    return {name: _instance(name, unit, runs.get(name, ""), known) for name, unit in units.items()}


def _instance(name: str, unit: tuple[str, str], runs: str, known: tuple[releases.Known, ...]) -> dict[str, Any]:
    current = next((r for r in known if r.instance == name and r.current), None)
    about = current.about if current else {}
    active, restarts = unit
    if active == "active" and current and runs == current.release:
        state = "serving" if current.good else "starting"
    elif active in ("active", "activating"):
        state = "starting"
    else:
        state = {"failed": "failed", "inactive": "stopped"}.get(active, active or "unknown")
    return {
        "state": state,
        "release": runs or (current.release if current else ""),
        "model": about.get("model", ""),
        "port": about.get("port"),
        "gpus": about.get("gpus", []),
        "image": about.get("image", ""),
        "restarts": int(restarts) if restarts.isdigit() else 0,
    }
