"""A command line around Invoke: what it would take silently is refused, and its complaints are said in our words.

Pure: words and Invoke's contexts in, words or errors out.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

from invoke.exceptions import ParseError
from invoke.parser.context import ParserContext

from fleet.errors import UsageError

HELP: Final = ("-h", "--help")
#: The options before a verb that do something here; Invoke's others speak of shell commands, which no verb runs by it.
KEPT: Final = ("help", "list", "version", "complete", "print-completion-script")
#: What people type where they want to see first, here or in Ansible.
_DRY: Final = ("--dry", "--dry-run", "-R", "--check", "-C", "--diff")


def help_asked(words: Sequence[str], verbs: Iterable[str]) -> list[str]:
    """``VERB … --help`` as ``--help VERB``: Invoke would take it as the file of a verb that wants one."""
    body = list(itertools.takewhile(lambda word: word != "--", words))
    asked = body and body[0] in verbs and any(word in HELP for word in body[1:])
    return ["--help", body[0]] if asked else list(words)


def names_of(contexts: Sequence[ParserContext]) -> list[str]:
    """All names of all verbs."""
    return sorted(name for context in contexts for name in (context.name, *context.aliases) if name)


def refuse_silent(words: Sequence[str], contexts: Sequence[ParserContext]) -> None:
    """Refuse what Invoke takes without a word: an option without its value, an option in the place of a file.

    Raises:
        UsageError: an option has no value (Invoke lets a repeatable one go by).
        ParseError: an unknown option stands where a file is wanted.
    """
    by_name = {name: context for context in contexts for name in (context.name, *context.aliases)}
    context: ParserContext | None = None
    files = 0  # that the verb still wants
    body = iter(itertools.takewhile(lambda word: word != "--", words))
    ahead = next(body, None)
    while (word := ahead) is not None:
        ahead = next(body, None)
        name, given, _ = word.partition("=")  # `--args=` is a value too: the empty one
        flags = context.flags if context else {}
        if context and name in flags:
            if not flags[name].takes_value or given:
                continue
            if ahead is None or ahead.partition("=")[0] in flags:
                raise UsageError(f"{name} needs a value", hint=f"see ./inv {context.name} --help")
            ahead = next(body, None)
        elif context and files:
            files -= 1
            if word.startswith("-") and word != "-":
                raise ParseError(f"No idea what '{name}' is!", context)
        elif word in by_name:
            context = by_name[word]
            files = len(context.positional_args)


def at_least(least: float, **given: float) -> None:
    """Refuse numbers that are too small, or none (``nan``, ``inf``); each by its option's name.

    Raises:
        UsageError: the first that is.
    """
    for name, value in given.items():
        if not math.isfinite(value) or value < least:
            option = f"--{name.replace('_', '-')}"
            words = f"must be {least:g} or more, not {value:g}"
            raise UsageError(f"{option} {words}", hint=f"leave {option} out for the default")


def share(name: str, text: str) -> None:
    """Refuse what is no share of a whole: ``75%`` and 0.75 are, 500% isn't; empty is the default.

    Raises:
        UsageError: it is more than all, less than none, or no number.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)\s*", text)
    if text and not (found and float(found[1]) <= (100 if found[2] else 1)):
        hint = "write it as 75%, or 0.75"
        raise UsageError(f"--{name.replace('_', '-')} {text}: that is no share of all", hint=hint)


def in_words(error: ParseError, contexts: Sequence[ParserContext]) -> UsageError:
    """Invoke's complaint in our words, with the nearest right name."""
    message, verb = str(error), error.context.name if error.context is not None else None
    if "No idea what" in message:
        wrong = message.split("'")[1] if "'" in message else message
        return _unknown_option(wrong, verb, contexts) if wrong.startswith("-") else _unknown_verb(wrong, contexts)
    if "needed value" in message:
        option = message.partition("<Argument: ")[2].split(">")[0].split(" ")[0].replace("_", "-")
        return UsageError(f"--{option} needs a value", hint=_see(verb))
    if "required positional arguments" in message:
        wanted = message.rpartition(": ")[2].replace("'", "").upper()
        return UsageError(f"{wanted} is missing", hint=f"./inv {verb} {wanted}; {_see(verb)}")
    return UsageError(message, hint=_see(verb))


def _unknown_option(wrong: str, verb: str | None, contexts: Sequence[ParserContext]) -> UsageError:
    own = [flag for context in contexts if context.name == verb for flag in context.flags]
    near = difflib.get_close_matches(wrong, [*own, *(f"--{name}" for name in KEPT)], 1, 0.5)
    if wrong in _DRY and not (near and near[0] in _DRY):
        hint = "./inv plan shows what provision and rollout would do, and changes nothing"
    else:
        hint = f"did you mean {near[0]}?" if near else _see(verb)
    return UsageError(f"there is no option {wrong!r}{f' of {verb}' if verb else ''}", hint=hint)


def _unknown_verb(wrong: str, contexts: Sequence[ParserContext]) -> UsageError:
    near = difflib.get_close_matches(wrong, names_of(contexts), 1, 0.5)
    return UsageError(f"there is no verb {wrong!r}", hint=f"did you mean {near[0]}?" if near else "see ./inv --list")


def _see(verb: str | None) -> str:
    return f"see ./inv {verb} --help" if verb else "see ./inv --list, or --help after a verb"
