"""From the words after the model in ``vllm serve MODEL …`` to arguments by name, the way vLLM's parser reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.sizing.options import Option, OptionFinding, find, options, spellings
from fleet.sizing.versions import neighbours

_NUMBER = re.compile(r"-\d+(\.\d*)?|-\.\d+")


@dataclass(frozen=True)
class Parsed:
    """The arguments by exact name (text as given, flags True), and what no parser would take."""

    args: Mapping[str, object]
    findings: tuple[OptionFinding, ...] = ()


def parse_words(version: str, words: Sequence[str]) -> Parsed:
    """``["--max-model-len", "4096", "--enforce-eager"]`` → ``{"max-model-len": "4096", "enforce-eager": True}``.

    Underscores count as dashes, ``--name=value`` and short names work, the last of two counts, as argparse has it.
    Values are not looked at here (:func:`fleet.sizing.options.check_args` does). Unknown options keep their name, with
    the word that follows them, so that the check names them.
    """
    known = neighbours(version)
    args: dict[str, object] = {}
    findings: list[OptionFinding] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not _is_option(word):
            findings.append(OptionFinding("", "refuse", f"{word!r} belongs to no option: unrecognized argument"))
            continue
        spelled, equals, given = word.partition("=")
        name, option = _named(known.judge, known.older or "", spelled, rest)
        if option is None:
            value: object = given if equals else _follows(rest)
            args[name] = True if value is None else value
            continue
        if option.kind == "switch" and name != option.name:
            args[option.name] = False
            if equals:
                findings.append(OptionFinding(option.name, "refuse", f"{spelled} takes no value"))
            continue
        args[name] = _value(option, given if equals else None, rest, args.get(name), findings)
    return Parsed(args, tuple(findings))


def _named(judge: str, older: str, spelled: str, rest: list[str]) -> tuple[str, Option | None]:
    """The option that a word names: the name to keep, and the option (None: in neither neighbour)."""
    if judge == "0.8.2" and re.fullmatch(r"-O\d", spelled):  # vLLM splits -O3 itself before argparse sees it
        rest.insert(0, spelled[2:])
        spelled = "-O"
    bare = spelled.lstrip("-")
    name = bare if "." in bare else bare.replace("_", "-")
    for version in dict.fromkeys((judge, older)):
        if not version:
            continue
        if not spelled.startswith("--"):
            full = spellings(version).get(spelled)
            option = options(version)[full] if full else None
        else:
            option, off = find(version, name)
            if option is not None and off is not None:
                return name, option
        if option is not None:
            return name if "." in name else option.name, option
    return name, None


def _value(option: Option, given: str | None, rest: list[str], before: object, findings: list[OptionFinding]) -> object:
    """The value of one known option, taken from ``given`` (after ``=``) or from the words that follow."""
    if not option.takes_value:
        if given is not None:
            findings.append(OptionFinding(option.name, "refuse", f"--{option.name} is a flag and takes no value"))
        return True
    if option.kind in ("words", "ints") and given is None:
        taken = []
        while (word := _follows(rest)) is not None:
            taken.append(word)
        return taken
    value = given if given is not None else _follows(rest)
    if value is None:
        if option.kind == "boolean":  # the bare option means true
            return True
        findings.append(OptionFinding(option.name, "refuse", f"--{option.name}: expected one argument"))
        return before
    return value


def _follows(rest: list[str]) -> str | None:
    """The next word, taken, if it is a value."""
    return rest.pop(0) if rest and not _is_option(rest[0]) else None


def _is_option(word: str) -> bool:
    """As argparse has it: ``--name=two words`` is one, ``-two words`` isn't."""
    name = word.partition("=")[0]
    return word.startswith("-") and word != "-" and _NUMBER.fullmatch(word) is None and " " not in name
