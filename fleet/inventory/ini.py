"""An inventory source in Ansible's INI: ``[group]``, ``[group:vars]``, ``[group:children]``.

Values are Python literals where they are any (``1`` is a number, ``yes`` a text), as Ansible reads them,
in ``:vars`` too (``ansible/plugins/inventory/ini.py``).
"""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from dataclasses import dataclass, field

from fleet.errors import InventoryError
from fleet.inventory.files import Content
from fleet.inventory.groups import UNGROUPED, Graph
from fleet.inventory.problems import Problems, nearest, unseen
from fleet.inventory.ranges import expand
from fleet.inventory.values import Line, Unsafe, secreted

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:\#.*)?")
_WORD = re.compile(r"[A-Za-z_][\w.-]*")
_CONSTANTS = {"True": True, "False": False, "None": None}
_NAME = re.compile(r"([^:\]\s]+)\s*(?:\#.*)?")


def read_ini(content: Content, graph: Graph) -> None:
    """Adds all that ``content`` says to ``graph``. Raises InventoryError, or Findings, with file and line."""
    reader, problems = _Reader(content, graph), Problems()
    for number, text in enumerate(_lines(content), start=1):
        line = text.strip()
        if line and line[0] not in "#;":
            place = Line(content.path, number, "" if content.encrypted else text)
            with problems.at(place), unseen(content.encrypted):
                reader.line(line, place)
    for name, pending in reader.pending.items():
        near = nearest(name, (group for group in graph.groups if group != name))
        where, hint = str(pending.place.origin()), f"declare it: [{name}]"
        problems.keep(InventoryError(pending.message + near, where=where, hint=hint))
    problems.check()


@dataclass
class _Pending:
    """A group that was named before it was declared."""

    place: Line
    message: str
    parents: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self, content: Content, graph: Graph) -> None:
        self._graph = graph
        self._encrypted = content.encrypted
        self.pending: dict[str, _Pending] = {}
        self._group, self._state = UNGROUPED, "hosts"

    def line(self, line: str, place: Line) -> None:
        if section := _SECTION.fullmatch(line):
            self._begin(section[1], section[2] or "hosts", place)
        elif line.startswith("[") and line.endswith("]"):
            raise InventoryError(
                f"{line!r} is no section", hint="[group], [group:vars] or [group:children], without spaces"
            )
        elif self._state == "hosts":
            self._hosts(line, place)
        elif self._state == "vars":
            name, sign, value = line.partition("=")
            if not sign:
                raise InventoryError(f"{line!r} is no variable", hint="write name=value")
            variables = {name.strip(): self._value(value.strip())}
            self._graph.set_variables(self._graph.groups[self._group], variables, place)
        else:
            self._child(line, place)

    def _begin(self, group: str, state: str, place: Line) -> None:
        if state not in ("hosts", "children", "vars"):
            near = nearest(state, ("children", "vars", "hosts"))
            raise InventoryError(
                f"[{group}:{state}] is no section{near}", hint="a section is [group], [group:vars] or [group:children]"
            )
        self._group, self._state = group, state
        if group not in self._graph.groups:
            if state == "vars":
                message = f"[{group}:vars] names a group that isn't declared"
                self.pending.setdefault(group, _Pending(place, message))
            self._graph.add_group(group)
        if state != "vars":
            self._declared(group)

    def _declared(self, group: str) -> None:
        """Makes ``group`` the child of those that named it before it was declared."""
        pending = self.pending.pop(group, None)
        for parent in pending.parents if pending else ():
            self._graph.add_child(parent, group)

    def _child(self, line: str, place: Line) -> None:
        found = _NAME.fullmatch(line)
        if not found:
            raise InventoryError(f"{line!r} is no group's name")
        child = found[1]
        if child in self._graph.groups:
            self._graph.add_child(self._group, child)
            return
        message = f"[{self._group}:children] names {child!r}, which isn't declared"
        self.pending.setdefault(child, _Pending(place, message)).parents.append(self._group)

    def _hosts(self, line: str, place: Line) -> None:
        try:
            first, *rest = shlex.split(line, comments=True)
        except ValueError as error:
            raise InventoryError(f"can't be split into words: {str(error).lower()}", hint="close the quotes") from None
        names, port = expand(first)
        if port is None and first.endswith(":"):
            raise InventoryError(f"{first!r} ends in ':', which announces a port")
        if "---" in names:
            raise InventoryError("'---' begins a YAML file", hint="give the file the extension .yml")
        variables: dict[str, object] = {}
        for word in rest:
            name, sign, value = word.partition("=")
            if not sign:
                raise InventoryError(f"{word!r} is no variable", hint="write name=value, and a comment after #")
            variables[name] = self._value(value)
        group = self._graph.groups[self._group]
        for name in names:
            self._graph.set_variables(self._graph.add_host(name, group, port=port, place=place), variables, place)

    def _value(self, text: str) -> object:
        value = literal(text)
        return secreted(value) if self._encrypted else value


def literal(text: str) -> object:
    """``text`` as the Python literal that it is, else as text; tuples and sets become lists."""
    if _WORD.fullmatch(text):  # most values: not worth a parser
        return _CONSTANTS.get(text, text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text
    except (MemoryError, RecursionError, TypeError):
        raise InventoryError("a value nests too deeply, or is no value") from None


def _plain(value: object) -> object:
    """What Ansible makes of the rarer kinds of literal."""
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if value is ...:
        return "..."
    if isinstance(value, bytes):
        return Unsafe(value.decode("utf-8", "surrogateescape"))
    return str(value) if isinstance(value, complex) else value


def _lines(content: Content) -> list[str]:
    """The lines of the file; only comments may be something else than UTF-8."""
    try:
        return content.data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = content.data.splitlines()
        comments = [b"" if line[:1] in (b"#", b";") else line for line in lines]
        return Content(content.path, b"\n".join(comments), encrypted=content.encrypted).text.split("\n")
