"""Where vault passwords come from: a file, a script, a prompt, the environment. As Ansible finds them."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fleet.errors import InputError, VaultError
from fleet.inventory.ansible_cfg import AnsibleConfig, read_config
from fleet.inventory.files import reason
from fleet.inventory.values import Line
from fleet.inventory.vault import DEFAULT_LABEL, Vault, VaultPassword, is_vault
from fleet.secret import Secret

#: The password itself, for machines that have neither a file nor a terminal. Ansible has no such variable.
VARIABLE = "FLEET_VAULT_PASSWORD"
_PROMPTS = ("prompt", "prompt_ask_vault_pass")


def read_passwords(
    *,
    files: Sequence[str] = (),
    ids: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    confirm: bool = False,
) -> list[VaultPassword]:
    """All passwords that are named, in the order in which they are tried.

    ``ids`` are ``LABEL@FILE``, ``LABEL@prompt`` or a file alone; then come ``files``. The environment (or an
    ``ansible.cfg``) adds ``ANSIBLE_VAULT_IDENTITY_LIST`` before them, and after them ``ANSIBLE_VAULT_PASSWORD_FILE``
    and ``FLEET_VAULT_PASSWORD``. What is typed is asked for twice where it is to ``confirm``. Raises VaultError where
    passwords are named and none can be read.
    """
    environ = os.environ if environ is None else environ
    found: list[VaultPassword] = []
    failures: list[InputError] = []
    config = read_config(environ)
    for label, source in _named(files, ids, config):
        try:
            found.append(
                VaultPassword(_read(label, source, Vault(tuple(found)), confirm=confirm), label or DEFAULT_LABEL)
            )
        except InputError as error:
            failures.append(error)
    if value := environ.get(VARIABLE):
        found.append(VaultPassword(Secret(value)))
    if failures and not found:
        raise failures[-1]
    return found


def _named(files: Sequence[str], ids: Sequence[str], config: AnsibleConfig) -> Iterator[tuple[str, str]]:
    """Label and source of each password."""
    for word in (*config.vault_identity_list, *ids):
        label, sign, source = word.partition("@")
        yield (label, source) if sign else ("", word)
    for file in (*files, config.vault_password_file):
        if file:
            yield DEFAULT_LABEL, file


def _read(label: str, source: str, vault: Vault, *, confirm: bool) -> Secret:
    """The password in ``source``; a password file may itself be encrypted with a password before it."""
    if source in _PROMPTS:
        return ask(f"Vault password ({label or DEFAULT_LABEL}): ", confirm=confirm)
    path = Path(source).expanduser()
    try:
        said = _printed(path, label) if os.access(path, os.X_OK) and path.is_file() else path.read_bytes().strip()
    except (OSError, ValueError) as error:
        raise VaultError(f"the vault password can't be read: {reason(error)}", where=source) from error
    if is_vault(said):
        said = vault.decrypt(said, Line(source))
    password = said.strip(b"\r\n").decode("utf-8", "surrogateescape")
    if not password:
        raise VaultError("the vault password is empty", where=source)
    return Secret(password)


def _printed(path: Path, label: str) -> bytes:
    """What a password script prints; one called ``…-client`` is told the label. It may ask on the terminal."""
    command = [str(path.absolute()), *(["--vault-id", label] if path.stem.endswith("-client") and label else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise VaultError(f"the vault password script ended with {done.returncode}", where=str(path))
    return done.stdout.strip(b"\r\n")


def ask(prompt: str, *, confirm: bool = False) -> Secret:
    """A password from the terminal, unseen; twice where a slip would lock something away for good."""
    try:
        password = getpass.getpass(prompt).strip()
        if confirm and getpass.getpass("Once more: ").strip() != password:
            raise VaultError("the two passwords differ", hint="try again")
    except EOFError:
        raise VaultError("no vault password was given", hint="a prompt needs a terminal") from None
    if not password:
        raise VaultError("the vault password is empty")
    return Secret(password)
