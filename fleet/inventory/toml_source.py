"""An inventory source in TOML: as in YAML, with ``children`` as a list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from fleet.errors import InventoryError
from fleet.inventory.files import Content
from fleet.inventory.groups import Graph
from fleet.inventory.problems import Problems
from fleet.inventory.ranges import expand
from fleet.inventory.values import Line, secreted


def read_toml(content: Content, graph: Graph, warn: Callable[[str], None]) -> None:
    """Adds all that ``content`` says to ``graph``. Raises InventoryError."""
    problems = Problems()
    with problems.at(Line(content.path)):
        toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        try:
            data: dict[str, object] = toml.loads(content.text)
        except (ValueError, RecursionError) as error:
            raise InventoryError(f"not valid TOML: {error}") from None
        if not data or data.get("plugin"):
            raise InventoryError("an inventory in TOML is a table of groups", hint="[web.hosts]")
        for name, group in data.items():
            _group(name, group, graph, content, warn)
    problems.check()


def _group(name: str, data: object, graph: Graph, content: Content, warn: Callable[[str], None]) -> None:
    if not isinstance(data, Mapping):
        warn(f"{content.path}: skipped {name!r}: a group is a table")
        return
    group, place = graph.add_group(name), Line(content.path)
    for key, value in data.items():
        if key == "vars":
            graph.set_variables(group, _variables(value, f"{name}.vars", content), place)
        elif key == "children":
            if not isinstance(value, list):
                raise InventoryError(f"{name}.children must be a list")
            for child in value:
                graph.add_child(name, graph.add_group(child).name)
        elif key == "hosts":
            for pattern, variables in _table(value, f"{name}.hosts").items():
                names, port = expand(pattern)
                for host in names:
                    entry = graph.add_host(host, group, port=port, place=place)
                    graph.set_variables(entry, _variables(variables, pattern, content), place)
        else:
            warn(f"{content.path}: skipped {key!r} of group {name!r}: only vars, children, hosts belong there")


def _table(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InventoryError(f"{what} must be a table")
    return value


def _variables(value: object, what: str, content: Content) -> Mapping[str, object]:
    values = _table(value, what)
    return {key: secreted(item) for key, item in values.items()} if content.encrypted else values
