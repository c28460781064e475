"""Random inventories: several sources, files beside each, names that mean two things. Ansible is the judge."""

import json
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.errors import InputError
from fleet.inventory import load
from fleet.inventory.encoding import Encoder
from fleet.inventory.listing import listed
from tests.unit.inventory.conformance import ask, lay_out

GROUPS = ["web", "db", "gpu", "a-b", "all", "ungrouped", "top", "x1", "zed", "n1"]
HOSTS = ["n1", "n2", "n[1:3]", "h.example.com", "10.0.0.1", "h[a:b]:22", "n2:99", "localhost", "web", "[::1]:22"]
NAMES = ["a", "b", "c", "d", "e", "ansible_host", "ansible_port", "groups", "e f", "1x"]
VALUES: list[Any] = [
    1,
    "x",
    "yes",
    True,
    None,
    "01",
    1.5,
    [1, "b"],
    {"k": 1},
    {"k": {"z": 2}},
    "{{ a }}",
    -1,
    "",
    "it's",
    "#x",
]
WORDS = [
    "1",
    "x",
    "True",
    "[1,2]",
    '"q r"',
    "None",
    "01",
    "1e3",
    "a=b",
    "{}",
    "0b1",
    "1_0",
    "'x'",
    "b'q'",
    "é",
    "x#y",
    "1,2",
]
LINES = [*WORDS, "x y", "[1, 2]", '"q"', "x # y", '{"k": 1}', "", "(1,2)", "1.", "1e400"]


class Chance(random.Random):
    """What is drawn by lot."""

    def some(self, items: list[Any], most: int) -> list[Any]:
        return self.sample(items, self.randint(0, min(most, len(items))))

    def variables(self) -> dict[str, Any]:
        return {name: self.choice(VALUES) for name in self.some(NAMES, 3)}

    def ini(self) -> str:
        lines = []
        for _ in range(self.randint(1, 7)):
            group, kind = self.choice(GROUPS), self.choice(["", ":vars", ":children"])
            lines.append(f"[{group}{kind}]{self.choice(['', '', ' # c'])}")
            for _ in range(self.randint(0, 3)):
                if kind == "":
                    words = "".join(f" {name}={self.choice(WORDS)}" for name in self.some(NAMES[:7], 3))
                    lines.append(self.choice(HOSTS) + words + self.choice(["", "", " # c", "#c"]))
                elif kind == ":vars":
                    lines.append(f"{self.choice(NAMES)}{self.choice(['=', ' = '])}{self.choice(LINES)}")
                else:
                    lines.append(self.choice(GROUPS[GROUPS.index(group) + 1 :] or ["zed"]))
        lines += [f"[{group}]" for group in GROUPS]
        return "\n".join(self.choice([[], ["[web:vars]", "ansible_group_priority=3"]]) + lines) + "\n"

    def group(self, depth: int, above: int) -> dict[str, Any] | None:
        below = [name for name in GROUPS[above + 1 :] if name != "all"]
        sections: dict[str, Any] = {}
        if self.random() < 0.6:
            hosts = {self.choice(HOSTS): self.choice([None, self.variables()]) for _ in range(self.randint(1, 3))}
            sections["hosts"] = self.choice([hosts, hosts, None, self.choice(HOSTS)])
        if self.random() < 0.5:
            sections["vars"] = self.choice([self.variables(), None])
        if depth < 3 and below and self.random() < 0.5:
            child = self.choice(below)
            sections["children"] = {child: self.choice([None, self.group(depth + 1, GROUPS.index(child))])}
        return self.choice([sections, sections, sections, None])

    def yaml(self) -> str:
        chosen = (self.choice(GROUPS) for _ in range(self.randint(1, 4)))
        return yaml.safe_dump({name: self.group(0, GROUPS.index(name)) for name in chosen}, sort_keys=False)

    def case(self) -> dict[str, Any]:
        files, sources = {}, []
        for number in range(self.choice([1, 1, 2, 3])):
            directory, ending = self.choice(["", "s1/", "s2/"]), self.choice(["", ".ini", ".yml", ".json"])
            name = f"{directory}hosts{number}{ending}"
            files[name] = self.ini() if ending == ".ini" or (ending == "" and self.random() < 0.5) else self.yaml()
            sources.append(directory.rstrip("/") if directory and self.random() < 0.2 else name)
        for directory in ("", "s1/", "s2/"):
            for kind, names in (
                ("group_vars", GROUPS),
                ("host_vars", ["n1", "n2", "h.example.com", "localhost", "web"]),
            ):
                for name in self.some(names, 3):
                    ending = self.choice(["", ".yml", ".yaml", ".json", "/x.yml", "/y/z"])
                    files[f"{directory}{kind}/{name}{ending}"] = yaml.safe_dump(self.variables() or None)
        return {"files": files, "sources": sources, "patterns": ["all", "web", "n*"]}


@pytest.mark.soak
@pytest.mark.skipif(find_spec("ansible") is None, reason="ansible-core is a development dependency")
@pytest.mark.parametrize("seed", range(3))
def test_what_ansible_accepts_is_the_same_here_and_what_it_refuses_is_refused(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = Chance(seed)
    cases = {f"{seed}-{number}": chance.case() for number in range(150)}
    accepted = 0
    for name, answer in ask(cases)["answers"].items():
        directory = tmp_path / name
        directory.mkdir()
        lay_out(cases[name], directory)
        monkeypatch.chdir(directory)
        try:
            inventory = load(cases[name]["sources"], passwords=[])
            said: Any = json.loads(Encoder().text(listed(inventory)))
        except InputError:
            said = None
        if answer.get("refused") or "error" in answer["list"]:
            assert said is None, name
            continue
        assert said is not None, name
        del said["_meta"]["profile"]
        assert json.dumps(said, sort_keys=True) == json.dumps(answer["list"], sort_keys=True), name
        for pattern, names in answer["hosts"].items():  # Ansible's own order of deep groups changes from run to run
            assert sorted(inventory.names(pattern)) == sorted(names), (name, pattern)
        accepted += 1
    assert accepted > 75
