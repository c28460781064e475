"""Who may know whom, and how long a module may be: DESIGN's rules, held over the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(p.relative_to(ROOT) for top in ("fleet", "roles") for p in (ROOT / top).rglob("*.py"))
#: A package of the world → the places that may know it.
ONLY = {
    "fabric": ("fleet/transport/ssh/",),
    "paramiko": ("fleet/transport/ssh/",),
    "yaml": (
        "fleet/inventory/",
        "fleet/sizing/",
        "fleet/data/",
        "fleet/mirrors.py",
        "fleet/cli/secret.py",
        "fleet/lab/",
    ),
    "jinja2": ("fleet/templates.py",),
}
#: Longer than they should be, and no longer than they are: to be split, not to be joined by others.
LONG = {
    "fleet/resources/scripts/weights.py": 340,
    "fleet/sizing/options.py": 330,
    "fleet/templates.py": 395,
}


def imports(path: Path) -> set[str]:
    """All modules that a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return names


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_knows_only_whom_it_may(path: Path) -> None:
    if path.parts[0] == "fleet":
        assert not tops(path) & {"roles", "tasks", "tests"}
    for package, places in ONLY.items():
        if package in tops(path):
            assert str(path).startswith(places), f"{package} belongs to {places}"


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[:2] == ("fleet", "sizing")], ids=str)
def test_sizing_knows_no_host_and_no_network(path: Path) -> None:
    assert not tops(path) & {"socket", "subprocess", "urllib", "http"}
    assert not [name for name in imports(path) if name.startswith(("fleet.transport", "fleet.facts", "fleet.cli"))]


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[0] == "roles"], ids=str)
def test_a_role_sends_nothing_to_a_host(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith(("fleet.transport", "fleet.apply", "fleet.cli"))]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_only_the_report_prints(path: Path) -> None:
    if path == Path("fleet/report.py") or "scripts" in path.parts or path.parts[:2] == ("fleet", "lab"):
        return  # scripts run on hosts, where standard output is their answer
    calls = [n for n in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_has_one_idea_and_at_most_300_lines(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= LONG.get(str(path), 300)
