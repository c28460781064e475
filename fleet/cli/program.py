"""The command line: Invoke's program with our exit codes, and the decorator that every verb wears.

Exit codes (CONTRACTS): 0 done · 1 failed at run time · 2 wrong use or input · 3 changes found, or unknown · 130 Ctrl-C.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from invoke.config import Config
from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext
from invoke.program import Program as InvokeProgram
from invoke.tasks import task

from fleet import __version__, report
from fleet.cli import commandline
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


def each_as_json(seen: Mapping[str, Any], shape: Callable[[Any], Any]) -> dict[str, Any]:
    """Host → what was seen there, in its shape; ``{"error": …}`` where that failed, so that no host is left out."""
    return {
        name: {"error": found.as_json()} if isinstance(found, FleetError) else shape(found)
        for name, found in seen.items()
    }


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


class _Alone(Config):
    """No settings of Invoke's own: a fleet is told by its inventory, and a broken file of others ends nothing."""

    def load_base_conf_files(self) -> None:
        """Neither ``/etc/invoke.*`` nor ``~/.invoke.*``."""


class Program(InvokeProgram):
    """``./inv``: wrong use ends with 2 and the nearest right name."""

    def core_args(self) -> list[Argument]:
        """Invoke's options before the verb, without those that would do nothing here (``--dry`` among them)."""
        return [argument for argument in super().core_args() if argument.name in commandline.KEPT]

    @property
    def args(self) -> Any:
        """The options before the verb. Invoke's own steps read those that we leave out too: as not given."""
        known = ParserContext(args=super().core_args()).args
        for name, argument in self.core[0].args.items():
            known[name] = argument
        return known

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002 — Invoke's own word
        """Parse and run; ends the process."""
        words = list(argv or sys.argv)
        try:
            self.create_config()
            self._parse(words)
            self.execute()
            sys.stdout.flush()
        except ParseError as error:
            code = self._refuse(commandline.in_words(error, self._contexts()), words)
        except FleetError as error:
            code = self._refuse(error, words)
        except UnexpectedExit as error:
            report.error(str(error))
            code = error.result.exited
        except Exit as ended:
            if ended.message:
                report.note(ended.message)
            code = ended.code
        except KeyboardInterrupt:
            report.note("\nended by Ctrl-C")
            code = 130
        except BrokenPipeError:  # `--help | head`: who reads us has seen enough
            report.unwritable()
            code = 0
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            report.unwritable()  # a list or a help: what report writes says so itself
            report.error(f"{error.filename or 'the result'} can't be written: {error.strerror}")
            code = 1
        else:
            code = 0
        if exit or code:
            if code == 130:
                os._exit(130)  # threads may still wait for hosts; their connections are closed, nothing is lost
            sys.exit(code)

    def _refuse(self, error: FleetError, words: list[str]) -> int:
        """Say what is wrong with the command line, as an object too where JSON was asked for."""
        if "--json" in words:
            report.result_json({"error": error.as_json()})
        report.error(str(error))
        return error.exit_code

    def _contexts(self) -> list[ParserContext]:
        return self.namespace.to_contexts() if self.namespace else []

    def _parse(self, argv: list[str]) -> None:
        """Invoke's own steps; a value that isn't of its option's type is wrong use, not a traceback."""
        contexts = self._contexts()
        words = commandline.help_asked(argv[1:], commandline.names_of(contexts))
        try:
            self.parse_core([argv[0], *words])
            self.parse_collection()
            commandline.refuse_silent(self.core.unparsed, contexts)
            self.parse_tasks()
            self._refuse_list()
            self.parse_cleanup()
        except ValueError as error:
            wrong = str(error).rpartition(": ")[2].strip("'")
            words = [part for word in words for part in word.split("=", 1)]
            option = words[words.index(wrong) - 1] if wrong in words else "an option"
            raise UsageError(f"{option}: {wrong!r} is no number", hint=f"give one, e.g. {option} 10") from error

    def _refuse_list(self) -> None:
        """``--list=NAME`` of what isn't there: Invoke says so and ends with 1."""
        wanted = self.args.list.value
        known = sorted(self.namespace.collections) if self.namespace else []
        if isinstance(wanted, str) and wanted not in known:
            raise UsageError(
                f"there are no verbs under {wanted!r}", where="--list", hint=f"there are: {', '.join(known)}"
            )


def main() -> None:
    """What ``./inv`` runs."""
    namespace = _tasks().namespace
    Program(
        name="inv", binary="inv", binary_names=["inv"], version=__version__, namespace=namespace, config_class=_Alone
    ).run()


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
