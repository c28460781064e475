"""The conformance cases: laying them out on disk, asking this program, asking Ansible.

``python tests/unit/inventory/conformance.py`` writes ``expected.json`` anew with the ansible-core that is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fleet.inventory.passwords import read_passwords
from fleet.inventory.vault import VaultPassword

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"


def cases() -> dict[str, dict[str, Any]]:
    """Every case by its name, ``theme/name``: its files, sources, patterns."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((HERE / "cases").glob("*.yml")):
        for name, case in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            found[f"{path.stem}/{name}"] = case
    return found


def lay_out(case: Mapping[str, Any], directory: Path) -> None:
    """Writes a case's files. Scripts (``#!``) are made executable."""
    for name, text in case.get("files", {}).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        if path.read_bytes().startswith(b"#!") or name in case.get("executable", ()):
            path.chmod(0o755)
    for name, target in case.get("links", {}).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def sources(case: Mapping[str, Any]) -> list[str]:
    """The sources of a case: as it says, else its first file."""
    return list(case.get("sources") or [next(iter(case["files"]))])


def passwords(case: Mapping[str, Any]) -> list[VaultPassword]:
    """The vault passwords that a case's command line names."""
    words = case.get("arguments", [])
    given = list(zip(words[::2], words[1::2], strict=True))
    return read_passwords(
        files=[value for option, value in given if option == "--vault-password-file"],
        ids=[value for option, value in given if option == "--vault-id"],
        environ={},
    )


def ask_ansible(chosen: Iterable[str]) -> dict[str, Any]:
    """Ansible's version and its answers by case, for committed cases."""
    known = cases()
    return ask({name: known[name] for name in chosen})


def ask(known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Ansible's version and its answers by case."""
    names = list(known)
    with tempfile.TemporaryDirectory() as top:
        questions = []
        for number, name in enumerate(names):
            directory = Path(top) / str(number)
            directory.mkdir()
            lay_out(known[name], directory)
            questions.append(
                {
                    "directory": str(directory),
                    "sources": sources(known[name]),
                    "arguments": known[name].get("arguments", []),
                    "patterns": known[name].get("patterns", []),
                }
            )
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [sys.executable, str(HERE / "oracle.py")],
            input=json.dumps(questions),
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            timeout=300,
        )
    said = json.loads(done.stdout)
    return {"ansible-core": said["ansible-core"], "answers": dict(zip(names, said["answers"], strict=True))}


def main() -> None:
    """Writes the expected answers of all cases."""
    said = ask_ansible(cases())
    for name, answer in said["answers"].items():
        if "--show" in sys.argv:
            sys.stderr.write(
                f"== {name}\n{answer['stderr']}\n{json.dumps(answer['list'], indent=1)}\n{answer['hosts']}\n"
            )
        del answer["stderr"]
    EXPECTED.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
