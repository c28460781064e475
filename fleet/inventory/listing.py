"""The inventory as ``ansible-inventory --list`` prints it, so that tools that read that can read this."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fleet.inventory.connection import PASSWORDS
from fleet.inventory.groups import ALL, Group
from fleet.inventory.inventory import Inventory
from fleet.inventory.values import secreted


def listed(inventory: Inventory, names: Collection[str] | None = None, *, masked: bool = False) -> dict[str, Any]:
    """Groups with their own hosts and children, and under ``_meta`` the variables of each host, as they stand there.

    ``names`` are the hosts to show, all where there are none given; ``masked`` hides passwords that stand in clear.
    What else is to be hidden is the business of who writes it out.
    """
    shown = inventory.names(ALL) if names is None else names
    answer: dict[str, Any] = {}
    _add(inventory.groups[ALL], frozenset(shown), answer, set())
    hostvars = {name: variables(inventory, name, masked=masked) for name in shown}
    answer["_meta"] = {
        "hostvars": {name: values for name, values in hostvars.items() if values},
        "profile": "inventory_legacy",
    }
    return answer


def variables(inventory: Inventory, name: str, *, masked: bool = False) -> Mapping[str, object]:
    """One host's variables as they stand there; ``masked`` makes secrets of passwords."""
    values = inventory.host(name).variables
    if masked and not PASSWORDS.isdisjoint(values):
        return {key: secreted(value) if key in PASSWORDS else value for key, value in values.items()}
    return values


def graph(inventory: Inventory, start: str = ALL) -> str:
    """The groups below ``start`` and their hosts, as ``ansible-inventory --graph`` draws them."""
    return "\n".join(_branch(inventory.groups[start], 0))


def _branch(group: Group, depth: int) -> Iterator[str]:
    yield f"{'  |' * depth}{'--' if depth else ''}@{group.name}:"
    for child in group.children:
        yield from _branch(child, depth + 1)
    if group.name != ALL:
        for name in group.hosts:
            yield f"{'  |' * (depth + 1)}--{name}"


def _add(group: Group, shown: frozenset[str], answer: dict[str, Any], seen: set[str]) -> None:
    """One group and those below it; empty ones are left out, as there."""
    seen.add(group.name)
    own = [] if group.name == ALL else [name for name in group.hosts if name in shown]
    entry = {"hosts": own, "children": [child.name for child in group.children]}
    if any(entry.values()):
        answer[group.name] = {key: value for key, value in entry.items() if value}
    for child in group.children:
        if child.name not in seen:
            _add(child, shown, answer, seen)
