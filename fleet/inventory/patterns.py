r"""Host patterns: ``web:&prod:!web01``, ``db[0]``, ``~gpu\d+``, in Ansible's order of evaluation.

The rules are those of ``ansible/inventory/manager.py``: plain patterns first, then ``&``, then ``!``, whatever the
order they are written in; a glob looks at groups first.
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fleet.errors import UsageError
from fleet.inventory.files import reason
from fleet.inventory.groups import ALL, LOCALHOST, Graph
from fleet.inventory.problems import nearest
from fleet.inventory.ranges import split_port

_BETWEEN_COLONS = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")
_SUBSCRIPT = re.compile(r"(.+)\[(?:(-?[0-9]+)|([0-9]+)([:-])([0-9]*))\]", re.DOTALL)
_LOOKS_AT_HOSTS = (".", "?", "*", "[")


def split(pattern: str) -> list[str]:
    """A pattern as single ones. A colon separates too, unless the whole is an address or a range."""
    if "," in pattern:
        parts = pattern.split(",")
    elif split_port(pattern):
        parts = [pattern]
    else:
        parts = _BETWEEN_COLONS.findall(pattern)
    return [part.strip() for part in parts if part.strip()]


def limit_patterns(limit: str) -> list[str]:
    """What ``--limit`` says; ``@file`` stands for the file's lines. Raises UsageError where it can't be read."""
    patterns: list[str] = []
    for part in split(limit):
        if not part.startswith("@"):
            patterns.append(part)
            continue
        try:
            lines = Path(part[1:]).read_text().split("\n")
        except (OSError, ValueError) as error:
            raise UsageError(f"--limit {part}: can't be read: {reason(error)}", hint="one pattern a line") from error
        patterns += [line.strip() for line in lines]
    return patterns


class Matcher:
    """Evaluates patterns over a settled graph. ``warn`` hears of patterns that nothing matches."""

    def __init__(self, graph: Graph, warn: Callable[[str], None]) -> None:
        self._graph = graph
        self._warn = warn
        self._implicit = ""

    def names(self, patterns: Iterable[str]) -> list[str]:
        """The names of the hosts that match, in Ansible's order, each once. Raises UsageError for a bad pattern."""
        plain: list[str] = []
        kept: list[str] = []
        removed: list[str] = []
        for pattern in filter(None, patterns):
            (removed if pattern[0] == "!" else kept if pattern[0] == "&" else plain).append(pattern)
        found: dict[str, None] = {}
        for pattern in [*(plain or [ALL]), *kept, *removed]:
            if pattern in self._graph.hosts:  # before anything else, even where its name begins with '!'
                found[pattern] = None
            elif pattern[0] not in "&!":
                found.update(dict.fromkeys(self._matching(pattern)))
            else:
                those = set(self._matching(pattern[1:]))
                found = {name: None for name in found if (name in those) == (pattern[0] == "&")}
        return list(found)

    def _matching(self, pattern: str) -> Sequence[str]:
        if not pattern:
            raise UsageError("'&' and '!' in a pattern need a name after them")
        expression, subscript = pattern, None
        if pattern[0] != "~" and (found := _SUBSCRIPT.fullmatch(pattern)):
            expression, subscript = found[1], found
        names = self._enumerate(expression)
        if subscript is None or not names:
            return names
        return _subscripted(names, subscript, pattern)

    def _enumerate(self, expression: str) -> list[str]:
        """The hosts of matching groups, then matching hosts where the pattern may be about hosts.

        A host that is found twice stands there twice: Ansible counts so in ``web*[3]``.
        """
        matches = _compiled(expression)
        groups = [group for name, group in self._graph.groups.items() if matches(name)]
        names = [host.name for group in groups for host in group.below()]
        if not groups or expression[0] == "~" or any(sign in expression for sign in _LOOKS_AT_HOSTS):
            names += [name for name in self._graph.hosts if matches(name)]
        if not names and expression in LOCALHOST:
            return [self._localhost(expression)]
        if not names and not groups and expression != ALL:
            near = nearest(expression, [*self._graph.groups, *self._graph.hosts])
            self._warn(f"no host or group matches {expression!r}{near}")
        return names

    def _localhost(self, name: str) -> str:
        """The machine itself, which needs no inventory: under the first name that it goes by, there or here."""
        self._implicit = next((host for host in self._graph.hosts if host in LOCALHOST), self._implicit or name)
        return self._implicit


def _compiled(expression: str) -> Callable[[str], object]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Python's plans for `[[`, which are none of the user's
            return re.compile(expression[1:] if expression[0] == "~" else fnmatch.translate(expression)).match
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"pattern {expression!r}: {error}", hint="after ~ stands a regular expression") from None


def _subscripted(names: list[str], subscript: re.Match[str], pattern: str) -> Sequence[str]:
    """``g[0]``, ``g[-1]``, ``g[1:]``, ``g[0:1]``: the end is included."""
    _, index, start, _, end = subscript.groups()
    try:
        if index:
            return [names[int(index)]]
        last = int(end) if end else -1
        if not last:  # Ansible takes an end of 0 for none
            return [names[int(start)]]
        return names[int(start) : len(names) if last == -1 else last + 1]
    except IndexError:
        raise UsageError(f"no host matches {pattern!r}: there are only {len(names)}", hint="the first is [0]") from None
    except ValueError:
        raise UsageError(f"pattern {pattern!r}: a number is too long") from None
