"""Every problem of an inventory at once: sources, files of variables, references, vault values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from fleet.errors import Findings, InputError, TemplateError, VaultError
from fleet.inventory.connection import PASSWORDS
from fleet.inventory.groups import ALL
from fleet.inventory.inventory import Inventory, load
from fleet.inventory.problems import nearest
from fleet.inventory.vault import VaultPasswords


def check(
    sources: Sequence[str | Path], used: Collection[str], *, passwords: VaultPasswords | None = None
) -> tuple[list[InputError], list[str]]:
    """All errors, and all warnings, of the inventory that ``sources`` describe.

    A reference that fails is an error in the variables called in ``used`` and in those about the connection; in others
    it may be meant for Ansible alone (facts, lookups), so that it is a warning.
    """
    errors: list[InputError] = []
    try:
        inventory = load(sources, passwords=passwords)
    except Findings as found:
        return list(found.errors), []
    except InputError as error:
        return [error], []
    notes = list(_variables(inventory, used, errors))
    errors += _files(inventory)
    return _once(errors), list(dict.fromkeys([*inventory.warnings, *_strays(inventory), *notes]))


def _variables(inventory: Inventory, used: Collection[str], errors: list[InputError]) -> Iterator[str]:
    """Resolves all that hosts have; errors go to ``errors``, the rest is yielded in words."""
    for name in inventory.names(ALL):
        try:
            host = inventory.host(name)
        except InputError as error:
            errors.append(error)
            continue
        for variable in (each for each in host.variables if isinstance(each, str)):
            try:
                host.resolve(variable)
            except (TemplateError, VaultError) as error:
                if variable in used or variable in PASSWORDS or variable.startswith("ansible_"):
                    errors.append(error)
                else:
                    yield f"{error.where}: {error.message}" + (f" ({error.hint})" if error.hint else "")
        errors += _failure(host.connection)


def _files(inventory: Inventory) -> Iterator[InputError]:
    """The files of groups and hosts that no host needs are read too: they are needed tomorrow."""
    for files in inventory.group_files:
        for group in inventory.groups:
            yield from _failure(partial(files.of, group))


def _strays(inventory: Inventory) -> Iterator[str]:
    """Files of variables that are for no group or host: often a slip in a name."""
    known = {"group": list(inventory.groups), "host": inventory.names(ALL)}
    for files in (*inventory.group_files, *inventory.host_files):
        for path, name in files.names():
            if name not in known[files.kind]:
                yield f"{path}: no {files.kind} is called {name!r}{nearest(name, known[files.kind])}"


def _failure(action: Callable[[], object]) -> list[InputError]:
    try:
        action()
    except InputError as error:
        return [error]
    return []


def _once(errors: Iterable[InputError]) -> list[InputError]:
    """Each error once: what a group's file gets wrong is wrong for each of its hosts."""
    return list({(error.where, error.message): error for error in errors}.values())
