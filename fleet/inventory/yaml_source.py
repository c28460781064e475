"""An inventory source in YAML or JSON: groups with ``hosts``, ``children`` and ``vars``, nested."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.errors import InventoryError
from fleet.inventory.documents import Document
from fleet.inventory.groups import Graph, Group
from fleet.inventory.problems import Problems, nearest
from fleet.inventory.ranges import expand

_SECTIONS = ("vars", "children", "hosts")


def read_yaml(document: Document, graph: Graph, warn: Callable[[str], None]) -> None:
    """Adds all that ``document`` says to ``graph``. Raises InventoryError, or Findings, with file, line and column."""
    problems, top = Problems(), document.value
    with problems.at(document.at()):
        if not isinstance(top, Mapping) or not top:
            raise InventoryError(
                f"an inventory in YAML is a mapping of groups, and this is {_kind(top)}", hint="begin with `all:`"
            )
        if plugin := top.get("plugin"):
            raise InventoryError(
                f"this configures Ansible's inventory plugin {plugin!r}, which only Ansible can run",
                hint="give a script that runs `ansible-inventory -i FILE --list` as the inventory",
            )
        reader = _Reader(document, graph, warn, problems)
        for name, data in top.items():
            reader.group(name, data, (name,))
    problems.check()


class _Reader:
    def __init__(self, document: Document, graph: Graph, warn: Callable[[str], None], problems: Problems) -> None:
        self._document = document
        self._graph = graph
        self._warn = warn
        self._problems = problems

    def group(self, name: object, data: object, path: tuple[object, ...]) -> None:
        if data is not None and not isinstance(data, Mapping):
            self._skip(path, f"{name!r}: a group is a mapping, not {_kind(data)}")
            return
        with self._problems.at(self._document.at(*path)):
            group = self._graph.add_group(name)
            for key, value in (data or {}).items():
                self._section(group, key, value, (*path, key))

    def _section(self, group: Group, key: object, value: object, path: tuple[object, ...]) -> None:
        if key in _SECTIONS and isinstance(value, str):
            value = {value: None}  # one name alone stands for itself
        if value is None:
            return
        if key not in _SECTIONS:
            near = nearest(str(key), _SECTIONS)
            self._skip(path, f"{key!r} of group {group.name!r}: only {', '.join(_SECTIONS)} belong there{near}")
            return
        with self._problems.at(self._document.at(*path)):
            if not isinstance(value, Mapping):
                raise InventoryError(
                    f"{key!r} of group {group.name!r} must be a mapping, not {_kind(value)}",
                    hint="write `name:` for each, not `- name`",
                )
            if key == "vars":
                self._graph.set_variables(group, self._document.variables(value), self._document.at(*path))
            elif key == "children":
                for child, data in value.items():
                    self.group(child, data, (*path, child))
                    with self._problems.at(self._document.at(*path, child)):
                        self._graph.add_child(group.name, child)
            elif key == "hosts":
                for pattern, variables in value.items():
                    with self._problems.at(self._document.at(*path, pattern)):
                        self._hosts(group, pattern, variables or {}, (*path, pattern))

    def _hosts(self, group: Group, pattern: object, variables: object, path: tuple[object, ...]) -> None:
        if not isinstance(pattern, str):
            raise InventoryError(
                f"a host's name must be a text, not {pattern!r}", hint=f"put it in quotes: '{pattern}'"
            )
        if not isinstance(variables, Mapping):
            raise InventoryError(f"the variables of {pattern!r} must be a mapping, not {_kind(variables)}")
        names, port = expand(pattern)
        place = self._document.at(*path)
        values = self._document.variables(variables)
        for name in names:
            self._graph.set_variables(self._graph.add_host(name, group, port=port, place=place), values, place)

    def _skip(self, path: tuple[object, ...], what: str) -> None:
        self._warn(f"{self._document.origin(path)}: skipped {what}")


def _kind(value: object) -> str:
    """What a value is, in YAML's words."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    return {str: "a text", bool: "true or false", list: "a list"}.get(type(value), f"a {type(value).__name__}")
