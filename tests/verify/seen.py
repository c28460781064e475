"""What several checks look at: asked once an instance, then kept for the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from fleet.errors import FleetError
from fleet.resources.release import unit_name
from fleet.resources.weights import revision_directory
from fleet.settings import Instance
from fleet.target import Manifest, Target

Answers = Mapping[str, Any]
_ASK = (Path(__file__).parent / "ask.py").read_text(encoding="utf-8")
_PROPERTIES = ("LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts")


def reached(target: Target | FleetError) -> Target:
    """The host's target; a host that didn't answer fails one check, the others are skipped."""
    if isinstance(target, FleetError):
        pytest.skip("the host doesn't answer")
    return target


def said(host: Host, otherwise: str, command: str, *args: str) -> str:
    """What a command printed; where it fails, ``otherwise`` and its last words."""
    done = host.run(command, *args)
    if done.rc != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        pytest.fail(": ".join([otherwise, *last]))
    return str(done.stdout).rstrip("\n")


def container(instance: Instance) -> str:
    """The name of the instance's container."""
    return unit_name(instance.name).removesuffix(".service")


def manifest_of(target: Target, instance: Instance) -> Manifest:
    """The locked list of the model's files."""
    manifest = target.manifest(instance)
    if manifest is None:
        pytest.fail(f"the files of {instance.model}@{instance.revision} aren't known: see models.lock")
    return manifest


def inspected(host: Host, instance: Instance) -> dict[str, Any]:
    """The running container, as Docker describes it."""
    found = _inspect(host, container(instance))
    if not found or not found["State"]["Running"]:
        pytest.fail(f"container {container(instance)} doesn't run")
    if found["Config"]["Labels"].get("fleet.instance") != instance.name:
        pytest.fail(f"container {container(instance)} isn't ours")
    return found


def unit(host: Host, instance: Instance) -> Mapping[str, str]:
    """The unit's properties, and for how many ``seconds`` it has been active."""
    shown = said(
        host,
        "systemd doesn't answer",
        "systemctl show %s -p ActiveEnterTimestampMonotonic " + " ".join(f"-p {name}" for name in _PROPERTIES)
        + "; read -r up rest < /proc/uptime; echo up=$up", unit_name(instance.name)
    )  # fmt: skip
    seen = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    since = int(seen.get("ActiveEnterTimestampMonotonic") or 0) // 10**6
    return {**seen, "seconds": str(int(float(seen["up"])) - since)}


def answers(target: Target, host: Host, instance: Instance) -> Answers:
    """What the server said to everything that it is asked, from inside its container."""
    listen = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(instance.listen, instance.listen)
    url = f"http://{f'[{listen}]' if ':' in listen else listen}:{instance.port}"
    directory = revision_directory(target.settings.weights.root, manifest_of(target, instance))
    found = _ask(host, container(instance), url, instance.served_name, _takes_pictures(host, directory))
    if isinstance(found, str):
        pytest.fail(found)
    return found


def ok(asked: Answers, what: str) -> Any:
    """The body of an answer that must be 200."""
    answer = asked[what]
    if answer["status"] != 200:
        pytest.fail(f"{what}: {answer['status'] or 'no answer'}: {str(answer['body'])[:200]}")
    return answer["body"]


@cache
def _inspect(host: Host, name: str) -> dict[str, Any]:
    shown = host.run("timeout 20 docker inspect --type container %s", name)
    return dict(json.loads(shown.stdout)[0]) if shown.rc == 0 else {}


@cache
def _takes_pictures(host: Host, directory: str) -> bool:
    shown = host.run("cat %s", f"{directory}/config.json")
    return shown.rc == 0 and "vision_config" in json.loads(shown.stdout)


@cache
def _ask(host: Host, name: str, url: str, served: str, vision: bool) -> Answers | str:
    """The answers, or why there are none: kept too, so that a server that hangs is waited for only once."""
    script = _ASK.replace("%", "%%")
    asked = host.run(
        f"timeout 110 docker exec --interactive %s python3 - %s %s %s <<'FLEET_ASK'\n{script}\nFLEET_ASK\n",
        name,
        url,
        served,
        "yes" if vision else "no",
    )
    if asked.rc != 0:
        return f"it can't be asked: {asked.stderr.strip()[-300:] or 'no answer within 110 s'}"
    return dict(json.loads(asked.stdout))
