"""The verbs for secrets in Ansible's vault format. No password and no plaintext is ever an argument."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context

from fleet import report
from fleet.cli.inventory import VAULT_HELP, VAULT_LISTS, Words
from fleet.cli.program import verb
from fleet.errors import UsageError
from fleet.inventory import VaultPassword, vault_files
from fleet.inventory.passwords import ask, read_passwords
from fleet.inventory.vault import Vault
from fleet.inventory.vault import encrypt as encrypt_text

_ALSO = {"also": "A further file, repeatable"}


@verb(
    positional=["file"],
    iterable=["also", *VAULT_LISTS],
    help={
        "file": "The file, or - for a value on stdin whose encrypted form is printed",
        "name": "With -: print it as NAME: !vault, to be pasted into YAML",
        "encrypt-vault-id": "Which of several passwords to encrypt with, by its label (default: the first)",
        **_ALSO,
        **VAULT_HELP,
    },
)
def encrypt(
    c: Context,
    file: str,
    also: Words = None,
    name: str = "",
    encrypt_vault_id: str = "",
    vault_password_file: Words = None,
    vault_id: Words = None,
) -> None:
    """Encrypt files in place, or one value for pasting into YAML.

    Examples: ./inv secret.encrypt group_vars/all/vault.yml    ./inv secret.encrypt - --name api_key < key.txt
    """
    if name and file != "-":
        raise UsageError("--name goes with a value on stdin", hint="./inv secret.encrypt - --name NAME < VALUE")
    password = vault_files.chosen(_passwords(vault_password_file, vault_id, confirm=True), encrypt_vault_id)
    if file == "-":
        plaintext = sys.stdin.buffer.read()
        text = (
            vault_files.inline(name, plaintext.removesuffix(b"\n"), password)
            if name
            else encrypt_text(plaintext, password)
        )
        report.result(text.rstrip("\n"))
        return
    for path in _paths(file, also):
        vault_files.encrypt_file(path, password)
        report.note(f"{path}: encrypted")


@verb(positional=["file"], iterable=VAULT_LISTS, help={"file": "The file", **VAULT_HELP})
def decrypt(c: Context, file: str, vault_password_file: Words = None, vault_id: Words = None) -> None:
    """Print what is in an encrypted file. The file stays as it is: plaintext never goes to a disk.

    Example: ./inv secret.decrypt group_vars/all/vault.yml
    """
    plaintext = vault_files.decrypt_file(Path(file), Vault(tuple(_passwords(vault_password_file, vault_id))))
    try:
        report.result(plaintext.decode().removesuffix("\n"))
    except UnicodeDecodeError:
        raise UsageError(
            "what is in it isn't text", where=file, hint="`ansible-vault decrypt --output FILE` takes it"
        ) from None


@verb(
    positional=["file"], iterable=VAULT_LISTS, help={"file": "The file; it is made where there is none", **VAULT_HELP}
)
def edit(c: Context, file: str, vault_password_file: Words = None, vault_id: Words = None) -> None:
    """Edit an encrypted file with $EDITOR (vi), on a private file in memory.

    Example: EDITOR=nano ./inv secret.edit group_vars/all/vault.yml
    """
    path = Path(file)
    passwords = _passwords(vault_password_file, vault_id, confirm=not path.exists())
    changed = vault_files.edit_file(path, Vault(tuple(passwords)), editor=os.environ.get("EDITOR") or "vi")
    report.note(f"{path}: {'saved' if changed else 'not changed'}")


@verb(
    positional=["file"],
    iterable=["also", *VAULT_LISTS],
    help={
        "file": "The file",
        "new-vault-id": "The new password: LABEL@FILE, LABEL@prompt or FILE (default: asked for)",
        **_ALSO,
        **VAULT_HELP,
    },
)
def rekey(
    c: Context,
    file: str,
    also: Words = None,
    new_vault_id: str = "prompt",
    vault_password_file: Words = None,
    vault_id: Words = None,
) -> None:
    """Give encrypted files another password: all of them, or none where one can't be decrypted.

    Example: ./inv secret.rekey a.yml --also b.yml --vault-id old@old.txt --new-vault-id new@prompt
    """
    old = _passwords(vault_password_file, vault_id)
    new = read_passwords(ids=[new_vault_id], environ={}, confirm=True)[0]
    paths = _paths(file, also)
    vault_files.rekey_files(paths, Vault(tuple(old)), new)
    for path in paths:
        report.note(f"{path}: has the new password")


def _paths(file: str, also: Words) -> list[Path]:
    return [Path(each) for each in (file, *(also or []))]


def _passwords(files: Words, ids: Words, *, confirm: bool = False) -> list[VaultPassword]:
    """The passwords that are named, else one that is asked for on the terminal."""
    found = read_passwords(files=files or [], ids=ids or [], confirm=confirm)
    return found or ([VaultPassword(ask("Vault password: ", confirm=confirm))] if sys.stdin.isatty() else [])


collection = Collection("secret", encrypt, decrypt, edit, rekey)
