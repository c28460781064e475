#!/usr/bin/env python3
"""``systemctl`` and ``docker`` for tests: units that lie in ``$FAKE/units``, containers that their starts would make.

State lies in ``$FAKE/state.json``: unit → {active, enabled, read (the text that systemd last read)}, and containers as
name → release. A unit named in ``$FAKE/broken`` ends at once when it is started; one in ``$FAKE/slow`` isn't ready yet.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAKE = Path(os.environ["FAKE"])
STATE = FAKE / "state.json"


def named(file: str) -> list[str]:
    path = FAKE / file
    return path.read_text().split() if path.exists() else []


def main(program: str, words: list[str]) -> int:
    state = json.loads(STATE.read_text()) if STATE.exists() else {"units": {}, "containers": {}}
    programs: dict[str, Callable[[dict[str, Any], list[str]], int]] = {"systemctl": systemctl, "docker": docker}
    status = programs[program](state, [w for w in words if w != "--quiet"])
    STATE.write_text(json.dumps(state))
    return status


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def text_of(unit: str) -> str:
    path = FAKE / "units" / unit
    return path.read_text() if path.exists() else ""


def systemctl(state: dict[str, Any], words: list[str]) -> int:
    units, verb = state["units"], words[0]
    if verb == "daemon-reload":
        for path in (FAKE / "units").glob("*.service"):
            units.setdefault(path.name, {"active": "inactive", "enabled": "disabled"})["read"] = path.read_text()
        return 0
    name = next((w for w in words[1:] if w.endswith(".service")), "")
    unit, container = units.get(name, {}), name.removesuffix(".service")
    if verb == "show":
        asked = words[2:]
        known = {
            "LoadState": "loaded" if "read" in unit else "not-found",
            "ActiveState": unit.get("active", "inactive"),
            "UnitFileState": unit.get("enabled", ""),
            "NeedDaemonReload": "yes" if unit.get("read", text_of(name)) != text_of(name) else "no",
            "NRestarts": "0",
        }
        if "--value" in asked:
            say(known[asked[asked.index("--property") + 1]])
        else:
            say("\n".join(f"{key}={known[key]}" for key in asked if key in known))
    elif verb == "is-active":
        say(unit.get("active", "inactive"))
        return 0 if unit.get("active") == "active" else 3
    elif verb == "enable":
        unit["enabled"] = "enabled"
    elif verb == "disable":
        unit.update(enabled="disabled", active="inactive")
        state["containers"].pop(container, None)
    elif verb == "stop":
        unit["active"] = "inactive"
        state["containers"].pop(container, None)
    elif verb in ("start", "restart"):
        if verb == "start" and unit.get("active") == "active":
            return 0
        (release,) = re.findall(r"--label=fleet.release=(\w+)", unit["read"])
        broken = container in named("broken")
        unit["active"] = "failed" if broken else "active"
        if broken:
            state["containers"].pop(container, None)
        else:
            state["containers"][container] = release
    elif verb != "reset-failed":
        sys.stderr.write(f"fake systemctl: {words}\n")
        return 1
    return 0


def docker(state: dict[str, Any], words: list[str]) -> int:
    running = state["containers"]
    match words:
        case ["ps", *rest] if "--format" in rest:
            say("\n".join(sorted(name.removeprefix("fleet-") for name in running)))
        case ["ps", *rest]:
            label = next((w.partition("=")[2] for w in rest if w.startswith("label=fleet.instance=")), "")
            wanted = label.partition("=")[2]
            say("\n".join(n for n in running if not wanted or n == f"fleet-{wanted}"))
        case ["inspect", "--format", form, name] if name in running:
            say(f"true {running[name]}" if "State" in form else running[name])
        case ["exec", "--interactive", name, *_] if name in running:
            if name in named("slow"):
                say("not yet: refused")
                return 75
            say("serves it")
        case ["exec", *_]:
            return int("blind" in named("broken"))
        case ["rm", "--force", name]:
            running.pop(name, None)
        case _:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
