"""What ansible-core itself says to a list of cases, as JSON: the judge of the conformance tests.

``python oracle.py < cases.json > answers.json``, a case being ``{"directory", "sources", "arguments", "patterns"}``.
Each runs in a fork of one process that has Ansible imported, which takes a tenth of a second instead of a whole one.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import sys
import tempfile
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def main() -> None:
    """Reads cases from stdin, writes Ansible's version and its answers to stdout."""
    cases = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "ansible.cfg").touch()
        os.environ.update(ANSIBLE_CONFIG=f"{home}/ansible.cfg", ANSIBLE_HOME=home, ANSIBLE_NOCOLOR="1", TMPDIR=home)
        version = import_module("ansible.release").__version__
        import_module("ansible.cli.inventory")  # once, before the forks
        json.dump({"ansible-core": version, "answers": [isolated(case) for case in cases]}, sys.stdout)


def isolated(case: dict[str, Any]) -> dict[str, Any]:
    """One case in a process of its own, since Ansible caches what it read."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=answer, args=(case, there))
    process.start()
    there.close()
    try:
        result: dict[str, Any] = here.recv()
    except EOFError:
        result = {"error": "died"}
    process.join()
    return result


def answer(case: dict[str, Any], reply: Connection) -> None:
    """``--list`` as ansible-inventory prints it, and the hosts that each pattern matches."""
    os.chdir(case["directory"])
    sources = [word for source in case["sources"] for word in ("-i", source)]
    result: dict[str, Any] = {}
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        result["list"] = listed([*sources, *case.get("arguments", [])])
        result["hosts"] = matched(case)
    if "Unable to parse" in said.getvalue() or "No inventory was parsed" in said.getvalue():
        result["refused"] = True
    result["stderr"] = said.getvalue()
    reply.send(result)
    reply.close()
    sys.stdout.flush()
    os._exit(0)


def listed(arguments: list[str]) -> Any:
    """What ``ansible-inventory --list`` prints."""
    from ansible.cli.inventory import InventoryCLI

    out = Path("/dev/shm" if Path("/dev/shm").is_dir() else ".") / f"answer-{os.getpid()}.json"
    try:
        InventoryCLI(["ansible-inventory", *arguments, "--list", "--output", str(out)]).run()
    except SystemExit:
        said = json.loads(out.read_text(errors="surrogateescape"))
        said["_meta"].pop("profile", None)
        return said
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        out.unlink(missing_ok=True)


def matched(case: dict[str, Any]) -> dict[str, Any]:
    """The hosts that each pattern matches, as ``ansible PATTERN --list-hosts`` prints them."""
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader

    found: dict[str, Any] = {}
    for written in case.get("patterns", []):
        pattern, _, limit = written.partition(" --limit ")
        try:
            names = [source if "," in source else str(Path(source).absolute()) for source in case["sources"]]
            inventory = InventoryManager(DataLoader(), names)
            inventory.subset(limit or None)
            found[written] = [str(name) for name in inventory.list_hosts(pattern)]
        except Exception as error:
            found[written] = {"error": str(error)}
    return found


if __name__ == "__main__":
    main()
