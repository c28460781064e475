"""The command line: Invoke's program with our exit codes, and the decorator that every verb wears.

Exit codes (CONTRACTS): 0 done · 1 failed at run time · 2 wrong use or input · 3 changes found, or unknown · 130 Ctrl-C.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.parser.context import ParserContext
from invoke.program import Program as InvokeProgram
from invoke.tasks import task

from fleet import __version__, report
from fleet.errors import FleetError, UsageError

F = TypeVar("F", bound=Callable[..., Any])

#: Help for the options that many verbs share.
COMMON = {
    "hosts": "Which hosts: a pattern as Ansible has it, e.g. 'gpu-cluster:!h3' (default: all)",
    "inventory": "Inventory file or directory, repeatable (default: FLEET_INVENTORY, else pyproject.toml's)",
    "limit": "Narrow --hosts down by another pattern, or @FILE with one name a line",
    "json": "One JSON document on stdout",
    "forks": "How many hosts at once (default 50)",
    "timeout": "Seconds to wait for a connection (default 10)",
    "yes": "Don't ask",
}


#: The options of verbs that connect, and of those that change.
CONNECTING = "hosts inventory limit json forks timeout"
CHANGING = f"{CONNECTING} yes"


def end_badly_if(seen: dict[str, Any]) -> None:
    """Say each host's error, and end with 1 where there was one."""
    errors = [found for found in seen.values() if isinstance(found, FleetError)]
    for error in errors:
        report.error(str(error))
    if errors:
        raise Exit(code=1)


def verb(*, help: dict[str, str] | None = None, common: str = "", **options: Any) -> Callable[[F], Any]:  # noqa: A002 — Invoke's own word
    """An Invoke task whose errors end in words and our exit codes, by whatever program it is run.

    ``common`` names shared options whose help stands in :data:`COMMON`.
    """

    def wear(body: F) -> Any:
        @functools.wraps(body)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return body(*args, **kwargs)
            except FleetError as error:
                fail(error, as_json=bool(kwargs.get("json")))
            except KeyboardInterrupt:
                goes_on = "; packages, images and weights under way go on on their hosts, the next run follows them"
                report.note(f"\nended by Ctrl-C{goes_on if 'yes' in described else ''}")
                raise Exit(code=130) from None
            except BrokenPipeError:  # the reader of our output went away: no more to say
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise Exit(code=1) from None

        described = {name.replace("-", "_"): COMMON[name] for name in common.split()} | (help or {})
        options.setdefault("auto_shortflags", False)
        if "inventory" in described:
            options.setdefault("iterable", ["inventory"])
        return cast("Any", task(**options, help=described)(guarded))

    return wear


def fail(error: FleetError, *, as_json: bool = False) -> None:
    """Say what was wrong, where, and what to do next; end with the error's exit code."""
    if as_json:
        report.result_json({"error": error.as_json()})
    report.error(str(error))
    raise Exit(code=error.exit_code)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; without one, or with ``yes``, go on.

    Raises:
        Exit: the answer was no.
    """
    if yes or not sys.stdin.isatty():
        return
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        report.note("nothing was done")
        raise Exit(code=1)


#: Of Invoke's own options those that mean something here; with --dry, for one, everything would be done all the same.
_CORE = ("help", "list", "version", "complete", "print-completion-script")


class Program(InvokeProgram):
    """``./inv``: wrong use ends with 2 and the nearest right name."""

    def print_help(self) -> None:
        """What ``./inv --help`` shows."""
        report.result(f"Usage: {self.binary} VERB [--options]\n\nOptions before a verb:\n")
        shown = [argument for argument in self.core_args() if argument.name in _CORE[:3]]
        self.print_columns(ParserContext(args=shown).help_tuples())
        self.list_tasks()

    def parse_core_args(self) -> None:
        """Refuse what only Invoke knows."""
        super().parse_core_args()
        for name, argument in self.args.items():
            if argument.got_value and name not in _CORE:
                plan = "./inv plan shows what would be done" if name == "dry" else "see ./inv --help"
                raise UsageError(f"there is no option --{name}", hint=plan)

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002 — Invoke's own word
        """Parse and run; ends the process."""
        try:
            self.create_config()
            self._parse(argv)
            self.update_config()
            self.execute()
        except ParseError as error:
            code = self._said(self._words(error), argv)
        except UnexpectedExit as error:
            report.error(str(error))
            code = error.result.exited
        except Exit as ended:
            if ended.message:
                report.note(ended.message)
            code = ended.code
        except FleetError as error:
            code = self._said(error, argv)
        except KeyboardInterrupt:
            report.note("\nended by Ctrl-C")
            code = 130
        except BrokenPipeError:  # `--help | head`: who reads us has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        else:
            code = 0
        sys.stdout.flush()
        if exit or code:
            if code == 130:
                os._exit(130)  # threads may still wait for hosts; their connections are closed, nothing is lost
            sys.exit(code)

    def _said(self, error: FleetError, argv: list[str] | None) -> int:
        if "--json" in (argv or sys.argv):
            report.result_json({"error": error.as_json()})
        report.error(str(error))
        return error.exit_code

    def _parse(self, argv: list[str] | None) -> None:
        """Invoke's own steps; a value that isn't of its option's type is wrong use, not a traceback."""
        words = list(argv or sys.argv)
        for word, after in zip(words, [*words[1:], "--"], strict=True):
            if word == "--inventory" and after.startswith("-"):  # Invoke takes a list's option without a value
                raise UsageError("--inventory needs a value", hint="a file or a directory")
        if len(words) > 2 and not words[1].startswith("-") and {"-h", "--help"} & set(words[2:]):
            argv = [words[0], "--help", words[1]]  # after a verb that takes a file, Invoke takes it for the file
        try:
            self.parse_core(argv)
            self.parse_collection()
            self.parse_tasks()
            self.parse_cleanup()
        except ValueError as error:
            wrong = str(error).rpartition(": ")[2].strip("'")
            words = [part for word in argv or sys.argv for part in word.split("=", 1)]
            option = words[words.index(wrong) - 1] if wrong in words else "an option"
            raise UsageError(f"{option}: {wrong!r} is no number", hint=f"give one, e.g. {option} 10") from error

    def _words(self, error: ParseError) -> UsageError:
        message = str(error)
        verbs = sorted(name for name in self.collection.task_names) if self.collection else []
        if "No idea what" in message:
            wrong = message.split("'")[1] if "'" in message else message
            known = [
                flag
                for context in (self.collection.to_contexts() if self.collection else [])
                if error.context is None or context.name == error.context.name
                for flag in context.flags
            ]
            names = known if wrong.startswith("-") else verbs
            near = difflib.get_close_matches(wrong, names, 1, 0.5)
            what = "option" if wrong.startswith("-") else "verb"
            of = (
                f" of {error.context.name}"
                if error.context is not None and error.context.name and what == "option"
                else ""
            )
            hint = f"did you mean {near[0]}?" if near else "see ./inv --list" if what == "verb" else "see --help"
            return UsageError(f"there is no {what} {wrong!r}{of}", hint=hint)
        if match := re.search(r"Flag <Argument: ([^ >]+).*needed value", message):
            return UsageError(f"--{match[1]} needs a value", hint="see --help after the verb")
        if match := re.search(r"did not receive required positional arguments: (.*)", message):
            return UsageError(f"it wants more: {match[1]}", hint="see --help after the verb")
        return UsageError(message, hint="see ./inv --list, or --help after a verb")


def main() -> None:
    """What ``./inv`` runs."""
    namespace = _tasks().namespace
    Program(name="inv", binary="inv", binary_names=["inv"], version=__version__, namespace=namespace).run()


def _tasks() -> Any:
    """The root's tasks.py, from wherever we are called."""
    import importlib.util

    from fleet.target import ROOT

    sys.path.insert(0, str(ROOT))
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    if spec is None or spec.loader is None:
        msg = "tasks.py isn't there"
        raise RuntimeError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tasks"] = module
    spec.loader.exec_module(module)
    return module
