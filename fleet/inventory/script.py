"""An executable inventory source: run with ``--list``, and with ``--host NAME`` where it has no ``_meta``."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from fleet.errors import InventoryError
from fleet.inventory.documents import from_json
from fleet.inventory.files import MAX_BYTES, reason, shown
from fleet.inventory.groups import Graph
from fleet.inventory.problems import Problems
from fleet.inventory.values import Line
from fleet.inventory.vault import Vault

#: Seconds that one run of a script may take.
TIMEOUT = 300


class NotScript(InventoryError):
    """The file has the executable bit and isn't a program, as on file systems that give the bit to all."""


def read_script(path: Path, graph: Graph, vault: Vault, warn: Callable[[str], None]) -> None:
    """Adds what the script says to ``graph``. Raises InventoryError where it fails or says something else."""
    place, problems = Line(f"{shown(path)} --list"), Problems()
    with problems.at(place):
        groups = _answer(path, ["--list"], vault)
        hostvars = None
        if "_meta" in groups:
            hostvars = _mapping(_mapping(groups.pop("_meta"), "_meta").get("hostvars"), "_meta.hostvars")
        else:
            warn(f"{shown(path)}: no _meta.hostvars in its answer, so it is run once more for each host")
        hosts: dict[str, None] = {}
        for name, data in groups.items():
            _group(name, data, graph, place, hosts)
        for host in hosts:
            where = place if hostvars is not None else Line(f"{shown(path)} --host {host}")
            with problems.at(where):
                variables = _answer(path, ["--host", host], vault) if hostvars is None else hostvars.get(host, {})
                graph.set_variables(graph.hosts[host], _mapping(variables, f"the variables of {host!r}"), where)
    problems.check()


def _group(name: str, data: object, graph: Graph, place: Line, hosts: dict[str, None]) -> None:
    """One group: a mapping of hosts, vars and children; or, as of old, a list of hosts, or one host's variables."""
    group = graph.add_group(name)
    if not isinstance(data, Mapping):
        data = {"hosts": data}
    elif not data.keys() & {"hosts", "vars", "children"}:
        data = {"hosts": [name], "vars": data}
    for host in _list(data.get("hosts", []), f"{name}.hosts"):
        graph.add_host(host, group, port=None, place=place)
        hosts[str(host)] = None
    graph.set_variables(group, _mapping(data.get("vars", {}), f"{name}.vars"), place)
    for child in _list(data.get("children", []), f"{name}.children"):
        graph.add_child(name, graph.add_group(child).name)


def _answer(path: Path, options: list[str], vault: Vault) -> dict[str, object]:
    """What the script prints, as JSON."""
    command = [os.path.abspath(path), *options]  # noqa: PTH100 - a script may look at the name it is called by
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=TIMEOUT, check=False
            )
            out.seek(0)
            err.seek(0)
            said, complaint = out.read(MAX_BYTES + 1), err.read(2000).decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        raise InventoryError(f"gave no answer within {TIMEOUT} seconds") from None
    except (OSError, ValueError) as error:
        raise NotScript(f"can't be run: {reason(error)}", hint="chmod -x, where it isn't a script") from None
    if done.returncode:
        raise InventoryError(f"ended with {done.returncode}" + (f": {complaint}" if complaint else ""))
    if len(said) > MAX_BYTES:
        raise InventoryError(f"printed more than {MAX_BYTES // 2**20} MiB")
    if options[0] == "--host" and not said.strip():
        return {}
    try:
        return dict(_mapping(from_json(said.decode(), vault, command[0]), "its answer"))
    except (ValueError, RecursionError):
        raise InventoryError(f"printed something else than JSON: {said[:60].decode(errors='replace')!r}") from None


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InventoryError(f"{what} must be an object, not {json.dumps(value, default=str)[:60]}")
    return value


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise InventoryError(f"{what} must be a list, not {json.dumps(value, default=str)[:60]}")
    return value
