"""Every conformance case gives what ansible-core gives: the whole ``--list`` and the hosts of each pattern."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import InputError
from fleet.inventory import load
from fleet.inventory.encoding import Encoder
from fleet.inventory.listing import listed
from tests.unit.inventory.conformance import EXPECTED, ask_ansible, cases, lay_out, passwords, sources

CASES = cases()
_SAID: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))
ANSWERS, VERSION = _SAID["answers"], _SAID["ansible-core"]


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    case, expected = CASES[name], ANSWERS[name]
    lay_out(case, tmp_path)
    if expected.get("refused") or "error" in expected["list"]:
        with pytest.raises(InputError) as caught:
            listed(load(sources(case), passwords=passwords(case)))
        assert str(caught.value)
        return
    inventory = load(sources(case), passwords=passwords(case))
    said = Encoder().text(listed(inventory))
    assert said == json.dumps(json.loads(said), sort_keys=True, indent=4, ensure_ascii=False)
    assert comparable(json.loads(said)) == comparable(expected["list"])
    for written, names in expected["hosts"].items():
        pattern, _, limit = written.partition(" --limit ")
        if "error" in names:
            with pytest.raises(InputError):
                inventory.names(pattern, limit or None)
        else:
            assert inventory.names(pattern, limit or None) == names, written


def comparable(answer: dict[str, Any]) -> str:
    """As JSON text, in which 1, 1.0 and true differ; without the profile."""
    answer["_meta"].pop("profile", None)
    return json.dumps(answer, sort_keys=True, indent=1)


WITH_ANSIBLE = pytest.mark.skipif(
    find_spec("ansible") is None, reason="ansible-core needs Python 3.11 and is a development dependency"
)


@WITH_ANSIBLE
def test_the_committed_answers_are_ansible_s() -> None:
    """A few cases of each theme; all of them behind ``--soak``."""
    recheck([name for number, name in enumerate(CASES) if number % 16 == 0])


@WITH_ANSIBLE
@pytest.mark.soak
def test_all_committed_answers_are_ansible_s() -> None:
    recheck(list(CASES))


def recheck(names: list[str]) -> None:
    said = ask_ansible(names)
    if said["ansible-core"] != VERSION:
        pytest.skip(f"the answers are those of {VERSION}, installed is {said['ansible-core']}")
    for name in names:
        answer = said["answers"][name]
        answer.pop("stderr")
        if "error" in answer["list"]:  # its words name temporary directories
            assert "error" in ANSWERS[name]["list"], name
        else:
            assert answer == ANSWERS[name], name
