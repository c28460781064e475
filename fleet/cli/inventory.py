"""The verbs that show and check the inventory. They read no settings: any Ansible inventory loads."""

from __future__ import annotations

import builtins
import gc
import json as json_module
from collections.abc import Sequence
from typing import Any, TypeAlias

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.program import verb
from fleet.cli.session import sources
from fleet.errors import Findings, InputError, UsageError
from fleet.inventory import Host, Inventory, VaultPassword, load
from fleet.inventory import check as checking
from fleet.inventory.encoding import Encoder
from fleet.inventory.explain import explain as explanations
from fleet.inventory.groups import ALL
from fleet.inventory.listing import graph as drawn
from fleet.inventory.listing import listed, variables
from fleet.inventory.passwords import read_passwords

#: Options with which vault passwords are named, for each verb that may need one.
VAULT_HELP = {
    "vault-password-file": "File or script with a vault password, repeatable (also ANSIBLE_VAULT_PASSWORD_FILE)",
    "vault-id": "LABEL@FILE, LABEL@prompt or FILE, repeatable (also ANSIBLE_VAULT_IDENTITY_LIST)",
}
VAULT_LISTS = ["vault_password_file", "vault_id"]

#: What Invoke gives for a repeatable option.
Words: TypeAlias = "list[str] | None"


@verb(
    common="hosts inventory limit json",
    iterable=["inventory", *VAULT_LISTS],
    help={
        "list": "Everything as JSON, as ansible-inventory --list prints it",
        "graph": "The groups and their hosts as a tree; --hosts may name the group to begin with",
        "host": "One host's variables as JSON, as ansible-inventory --host prints them",
        "explain": "Where a variable comes from and what it beat: a name, a path like instances[0].args, or a glob",
        "mask": "Hide in --list and --host what came from a vault, and passwords",
        **VAULT_HELP,
    },
)
def show(
    c: Context,
    hosts: str = ALL,
    inventory: Words = None,
    limit: str = "",
    json: bool = False,
    list: bool = False,  # noqa: A002 - the option's name, which is Ansible's
    graph: bool = False,
    host: str = "",
    explain: str = "",
    mask: bool = False,
    vault_password_file: Words = None,
    vault_id: Words = None,
) -> None:
    """Show hosts that match, all variables, the tree of groups, or where a value comes from.

    Examples: ./inv inventory --hosts 'gpu:!canary'    ./inv inventory --host h1    ./inv inventory --explain vllm_args
    """
    if sum(map(bool, (list, graph, host, explain))) > 1:
        raise UsageError("only one of --list, --graph, --host, --explain at a time")
    gc.disable()  # a short run that keeps nearly all it makes: looking for garbage takes a fifth of its time
    known = _load(inventory, vault_password_file, vault_id)
    try:
        if list:
            _show_json(known, listed(known, known.names(hosts, limit or None), masked=mask), mask=mask)
        elif host:
            _show_json(known, variables(known, _one(known, host), masked=mask), mask=mask)
        elif graph:
            _show_graph(known, hosts, as_json=json)
        elif explain:
            _show_explanations(known, known.names(hosts, limit or None), explain, as_json=json)
        else:
            names = known.names(hosts, limit or None)
            if json:
                report.result_json(names)
            elif names:
                report.result("\n".join(names))
    finally:
        for words in dict.fromkeys(known.warnings):
            report.warn(words)


@verb(
    common="inventory json",
    iterable=["inventory", *VAULT_LISTS],
    help=VAULT_HELP,
)
def check(
    c: Context,
    inventory: Words = None,
    json: bool = False,
    vault_password_file: Words = None,
    vault_id: Words = None,
) -> None:
    """Find everything that is wrong in the inventory, all at once; ends with 2 where something is.

    Sources, files of variables, vault values, references, connection variables; not what image, instances and the
    other settings say: ./inv plan judges those, before it connects. Example: ./inv inventory.check
    """
    from fleet.settings import RESERVED

    passwords = passwords_from(vault_password_file, vault_id)
    errors, warnings = checking.check(sources(inventory or []), RESERVED, passwords=passwords)
    for words in warnings:
        report.warn(words)
    if json:
        first = {"error": Findings(errors).as_json()} if errors else {}
        report.result_json({**first, "errors": [error.as_json() for error in errors], "warnings": warnings})
    if errors:
        report.error(str(Findings(errors)))
        raise Exit(code=2)
    report.note("readable as an inventory, nothing is wrong there; the settings are judged by ./inv plan")


def _load(inventory: Words, files: Words, ids: Words) -> Inventory:
    return load(sources(inventory or []), passwords=passwords_from(files, ids))


def passwords_from(files: Words, ids: Words) -> builtins.list[VaultPassword]:
    """The vault passwords that a verb's options, and the environment, name."""
    return read_passwords(files=files or [], ids=ids or [])


def _one(inventory: Inventory, pattern: str) -> str:
    names = inventory.names(pattern)
    if len(names) != 1:
        raise UsageError(f"--host takes one host, and {pattern!r} matches {len(names)}", hint="see ./inv inventory")
    return names[0]


def _show_json(inventory: Inventory, value: Any, *, mask: bool) -> None:
    """As Ansible writes it, to the byte."""
    if inventory.encrypted_files and not mask:
        files = ", ".join(inventory.encrypted_files)
        report.warn(f"what came from an encrypted file is shown in clear (--mask hides it): {files}")
    report.result(Encoder(masked=mask).text(value))


def _show_graph(inventory: Inventory, start: str, *, as_json: bool) -> None:
    if start not in inventory.groups:
        raise UsageError(f"--graph begins with a group, and {start!r} is none", hint="leave --hosts out for all groups")
    if as_json:
        report.result_json({name: [child.name for child in group.children] for name, group in inventory.groups.items()})
    else:
        report.result(drawn(inventory, start))


def _show_explanations(inventory: Inventory, names: Sequence[str], wanted: str, *, as_json: bool) -> None:
    found = {name: [*explanations(inventory.host(name), wanted)] for name in names}
    if not any(found.values()):
        raise UsageError(f"no host here has {wanted!r}", hint="see ./inv inventory --host NAME for what there is")
    if as_json:
        report.result_json({name: {each.variable: each.as_json() for each in those} for name, those in found.items()})
        return
    for name, those in found.items():
        for each in those:
            report.result(str(each))
        if wanted.startswith(("vllm_args", "vllm_env", "instances")):
            _show_combined(inventory.host(name))


def _show_combined(host: Host) -> None:
    """What each instance gets once ``vllm_args`` and ``vllm_env`` lie under its own."""
    from fleet.settings import settings_of  # pydantic takes 200 ms that no other question needs

    try:
        settings = settings_of(host)[0]
    except InputError as error:
        report.note(f"  together: not known, the settings have errors: {error}")
        return
    for instance in settings.instances:
        for key, values in (("args", instance.args), ("env", instance.env)):
            report.result(f"  together {instance.name}.{key}: {json_module.dumps(values, default=str, sort_keys=True)}")


collection = Collection("inventory")
collection.add_task(show, name="show", default=True)
collection.add_task(check, name="check")
