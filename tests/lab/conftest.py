"""The hosts that these tests run on: the lab that is up, or one that is raised for them (and left up)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet import report
from fleet.lab import lab, machine

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the lab, and says why where this machine can't hold one."""
    ours = [item for item in items if HERE in item.path.parents]
    reason = machine.why_not() if ours else ""
    for item in ours:
        item.add_marker(pytest.mark.lab)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def raised() -> dict[str, Any]:
    """The lab's state; raised now where it isn't up."""
    return lab.up(lambda text: report.note(f"lab  {text}"))  # what is up already stays; another checkout's is refused


@pytest.fixture(scope="session")
def told(raised: dict[str, Any]) -> dict[str, Any]:
    """What the lab tells inventory/lab.yml: addresses, keys, the image, the mirrors."""
    assert raised["up"]
    variables: dict[str, Any] = json.loads(lab.VARIABLES.read_text())["lab"]
    return variables
