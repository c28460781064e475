"""The options of ``vllm serve``: which exist in a version, what values they take, how they are written.

Known from the real parsers' dumps (``data/options.json``; :mod:`fleet.sizing.importing` adds a version). Arguments are
a mapping from exact names without dashes to values as YAML gives them (a flag is ``True``) or as a command line
gives them (text). A version between two known ones is judged by both: where they differ the newer counts, with a
warning. argparse would also take unique prefixes; here only exact names pass, for a prefix means another option
in the next version (``--max-seq-len`` is ``--max-seq-len-to-capture`` in 0.8.2 and an error in 0.33).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from fleet.sizing.data import read
from fleet.sizing.values import CHECKS, nearest_choice, respelled
from fleet.sizing.versions import neighbours

Level = Literal["refuse", "warn", "unknown"]


@dataclass(frozen=True)
class Option:
    """One option in one version: its kind of value, the values allowed (empty: any), other spellings with dashes."""

    name: str
    kind: str
    choices: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()

    @property
    def takes_value(self) -> bool:
        """False for flags and for switches that are on or off by their name."""
        return self.kind not in ("flag", "switch")

    @property
    def negative(self) -> str | None:
        """The spelling that switches a switch off, without dashes: ``no-enable-prefix-caching``."""
        if self.kind != "switch":
            return None
        names = (alias.lstrip("-") for alias in self.aliases)
        return next((name for name in names if name.startswith(("no-", "disable-"))), f"no-{self.name}")


@dataclass(frozen=True)
class OptionFinding:
    """One thing to say about one option: ``nearest`` is the right name or value where one is near."""

    option: str
    level: Level
    words: str
    nearest: str | None = None


@cache
def options(version: str) -> Mapping[str, Option]:
    """Every option of one *known* version, by name."""
    found = {}
    for name, rows in read("options.json")["options"].items():
        for row in rows:
            if version in row["in"]:
                choices = frozenset(row.get("choices", ()))
                found[name] = Option(name, row["kind"], choices, tuple(row.get("aliases", ())))
    return found


@cache
def spellings(version: str) -> Mapping[str, str]:
    """Every spelling in a known version, with dashes and without, → the option's name."""
    names = {}
    for name, option in options(version).items():
        names[f"--{name}"] = name
        for alias in option.aliases:
            names[alias] = name
        if option.negative:
            names[f"--{option.negative}"] = name
    return names


def check_args(version: str, args: Mapping[str, object]) -> list[OptionFinding]:
    """What this version's parser would say to ``args``; empty when it takes them all.

    ``refuse``: the parser ends with an error. ``warn``: known neighbours of an unknown version differ.
    ``unknown``: the version is older than all that is known.
    """
    known = neighbours(version)
    if not known.known:
        oldest = read("options.json")["versions"][0]
        return [OptionFinding("", "unknown", f"vLLM {version}: options are known from {oldest} on")]
    judged = [finding for name, value in args.items() for finding in _check_one(known.judge, name, value)]
    if known.exact or known.newer is None:
        beyond = [] if known.exact else [_beyond(version, known.judge)]
        return judged + beyond
    for name, value in args.items():
        older = _check_one(known.older or "", name, value)
        newer = [finding for finding in judged if finding.option == name]
        if bool(older) != bool(newer):
            no, yes = (known.newer, known.older) if newer else (known.older, known.newer)
            words = f"--{name}: vLLM {yes} takes it so, {no} doesn't; for {version}, between them, the newer counts"
            judged.append(OptionFinding(name, "warn", words))
    return judged


def _beyond(version: str, newest: str) -> OptionFinding:
    return OptionFinding("", "warn", f"vLLM {version} is newer than all that is known; judged as {newest}")


def _check_one(version: str, name: str, value: object) -> list[OptionFinding]:
    """The findings of one option in one known version."""
    option, wanted = find(version, name)
    if option is None:
        return [unknown_option(version, name)]
    if wanted is False and value is not True:
        return [OptionFinding(name, "refuse", f"--{name} takes no value")]
    complaint = CHECKS[option.kind](value)
    if complaint:
        return [OptionFinding(name, "refuse", f"--{name}: {complaint}", respelled(option.kind, value))]
    words = value if isinstance(value, (list, tuple)) else [value]
    for word in words:
        if option.choices and option.kind != "flag" and str(word) not in option.choices:
            known = ", ".join(sorted(option.choices - {"None"}))
            text = f"--{name}: {word!r} is none of {known} (vLLM {version})"
            return [OptionFinding(name, "refuse", text, nearest_choice(str(word), option.choices))]
    return []


def find(version: str, name: str) -> tuple[Option | None, bool | None]:
    """The option that ``name`` means in a known version, and False where the name is the 'off' spelling of it.

    ``limit-mm-per-prompt.image`` (dotted, for JSON options of newer versions) is the option before the dot.
    """
    name = name.replace("_", "-") if "." not in name else name
    table = options(version)
    if name in table:
        return table[name], None
    off = table.get(name.removeprefix("no-"))
    if off is not None and off.kind == "switch":  # taken even where --disable-… is the listed spelling (0.33)
        return off, False
    full = spellings(version).get(f"--{name}") or spellings(version).get(f"-{name}")
    if full:
        option = table[full]
        return option, False if option.kind == "switch" and name == option.negative else None
    head, dot, _ = name.partition(".")
    head = head.replace("_", "-")
    if (
        dot
        and head in table
        and table[head].kind in ("json", "object", "text")
        and version != read("options.json")["versions"][0]
    ):
        return replace(table[head], kind="text", choices=frozenset()), None
    return None, None


def unknown_option(version: str, name: str) -> OptionFinding:
    """An option that this version doesn't have, with the nearest one that it has."""
    renamed = read("renames.json")["renames"].get(name)
    table = options(version)
    if renamed:
        target = next((new for new in renamed["to"] if new in table), None)
        why = renamed["why"] if target or not renamed["to"] else "it isn't in this version either under another name"
        nearest = target
    else:
        prefixed = sorted(n for n in table if n.startswith(name))
        near = difflib.get_close_matches(name, list(table), 1, cutoff=0.75)
        nearest = near[0] if near else (prefixed[0] if prefixed else None)
        why = ""
    words = f"vLLM {version} has no option --{name}"
    if why:
        words += f": {why}"
    elif nearest:
        words += f"; the nearest is --{nearest}"
    return OptionFinding(name, "refuse", words, nearest)


def render_args(version: str, args: Mapping[str, object]) -> list[str]:
    """``args`` as the words for ``vllm serve`` in this version: ``{"limit-mm-per-prompt": {"image": 5}}`` becomes
    ``--limit-mm-per-prompt image=5`` for 0.8.2 and ``--limit-mm-per-prompt '{"image": 5}'`` for newer ones.

    Values that are text already are passed as they are. A flag that is ``False`` is left out; a switch is written
    in its 'off' spelling. Unknown names are rendered too (checking is :func:`check_args`' work). Words are not quoted.
    """
    judge = neighbours(version).judge
    words: list[str] = []
    for name, value in args.items():
        option, _ = find(judge, name) if judge else (None, None)
        words += _render_one(option, name.replace("_", "-") if "." not in name else name, value)
    return words


def _render_one(option: Option | None, name: str, value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        if option is not None and option.kind == "boolean":
            return [f"--{name}", str(value).lower()]
        if value:
            return [f"--{name}"]
        return [f"--{option.negative}"] if option is not None and option.negative else []
    if isinstance(value, Mapping):
        if option is not None and option.kind == "counts":
            return [f"--{name}", ",".join(f"{key}={count}" for key, count in value.items())]
        return [f"--{name}", json.dumps(value)]
    if isinstance(value, (list, tuple)):
        if option is not None and option.kind in ("words", "ints"):
            return [f"--{name}", *(str(word) for word in value)]
        return [f"--{name}", json.dumps(list(value))]
    return [f"--{name}", str(value)]
