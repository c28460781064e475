"""What an ``ansible.cfg`` says about inventories: what to skip in directories, where vault passwords are.

It is looked for where Ansible looks: ``ANSIBLE_CONFIG``, the working directory, the home directory, ``/etc/ansible``.
"""

from __future__ import annotations

import configparser
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.errors import InventoryError
from fleet.inventory.files import reason

_EXTENSIONS = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")
_ALWAYS = r"^\.|^host_vars$|^group_vars$|^vars_plugins$"

#: Settings that change how Ansible reads an inventory, and that aren't followed here: section, name, Ansible's default.
_NOT_FOLLOWED = (
    ("defaults", "hash_behaviour", "replace"),
    ("defaults", "precedence", ""),
    ("defaults", "yaml_valid_extensions", ""),
    ("inventory", "enable_plugins", ""),
)


@dataclass(frozen=True)
class AnsibleConfig:
    """``ignored`` matches the names that a directory source skips; ``warnings`` name settings that aren't followed."""

    ignored: re.Pattern[str]
    vault_password_file: str = ""
    vault_identity_list: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def read_config(environ: Mapping[str, str] | None = None) -> AnsibleConfig:
    """The settings of the file that Ansible would take, under those of the environment. Raises InventoryError."""
    environ = os.environ if environ is None else environ
    path = next(_found(environ), None)
    parser = configparser.ConfigParser(inline_comment_prefixes=(";",), interpolation=None, strict=False)
    if path is not None:
        try:
            parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
        except (OSError, ValueError, configparser.Error) as error:
            words = reason(error).splitlines()[0]
            raise InventoryError(
                f"can't be read: {words}", where=str(path), hint="Ansible can't read it either"
            ) from error

    def said(variable: str, *places: tuple[str, str]) -> str:
        return environ.get(variable) or next((parser[s][k] for s, k in places if parser.has_option(s, k)), "")

    extensions = said(
        "ANSIBLE_INVENTORY_IGNORE", ("defaults", "inventory_ignore_extensions"), ("inventory", "ignore_extensions")
    )
    patterns = said(
        "ANSIBLE_INVENTORY_IGNORE_REGEX", ("defaults", "inventory_ignore_patterns"), ("inventory", "ignore_patterns")
    )
    ends = [f"{re.escape(end)}$" for end in (_listed(extensions) or _EXTENSIONS)]
    try:
        ignored = re.compile("|".join([_ALWAYS, *_listed(patterns), *ends]))
    except re.error as error:
        where = str(path or "ANSIBLE_INVENTORY_IGNORE_REGEX")
        raise InventoryError(f"ignore_patterns holds no regular expression: {error}", where=where) from None
    file = said("ANSIBLE_VAULT_PASSWORD_FILE", ("defaults", "vault_password_file"))
    if file and path is not None and "ANSIBLE_VAULT_PASSWORD_FILE" not in environ:
        file = str(path.parent / Path(os.path.expandvars(file)).expanduser())
    return AnsibleConfig(
        ignored,
        file,
        tuple(_listed(said("ANSIBLE_VAULT_IDENTITY_LIST", ("defaults", "vault_identity_list")))),
        tuple(_not_followed(parser, path)),
    )


def _found(environ: Mapping[str, str]) -> Iterator[Path]:
    """The files that are there, the one that counts first."""
    here = Path("ansible.cfg")
    if named := environ.get("ANSIBLE_CONFIG"):
        given = Path(named).expanduser()
        yield from (path for path in (given / "ansible.cfg" if given.is_dir() else given,) if path.is_file())
    if here.is_file() and not Path().stat().st_mode & stat.S_IWOTH:  # Ansible trusts none that anybody may write
        yield here
    for path in (Path("~/.ansible.cfg").expanduser(), Path("/etc/ansible/ansible.cfg")):
        if path.is_file():
            yield path


def _not_followed(parser: configparser.ConfigParser, path: Path | None) -> Iterator[str]:
    for section, name, default in _NOT_FOLLOWED:
        if parser.has_option(section, name) and parser[section][name].strip() != default:
            yield f"{path}: {name}={parser[section][name]} isn't followed here: Ansible's default counts"


def _listed(text: str) -> list[str]:
    return [word for word in map(str.strip, text.split(",")) if word]
