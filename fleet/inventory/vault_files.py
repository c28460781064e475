"""Encrypted files: made, shown, edited, given another password. Plaintext stays in memory.

The one exception is an editor, which needs a file: it gets one in a directory of its own on a tmpfs, readable by its
owner alone, and that is gone before the verb ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from fleet.errors import UsageError, VaultError
from fleet.inventory.files import MAX_BYTES, reason, shown
from fleet.inventory.values import Line
from fleet.inventory.vault import Vault, VaultPassword, encrypt, is_vault


def encrypt_file(path: Path, password: VaultPassword) -> None:
    """Puts a vault in the place of a plain file, and overwrites what was there. Raises VaultError, UsageError."""
    plaintext = _read(path)
    if is_vault(plaintext):
        raise UsageError("is already encrypted", where=shown(path), hint="secret.rekey changes its password")
    with path.open("r+b") as old:
        replace(path, encrypt(plaintext, password))
        if os.fstat(old.fileno()).st_nlink == 0:  # another name for the same file keeps its content
            old.write(bytes(len(plaintext)))
            old.flush()
            os.fsync(old.fileno())


def decrypt_file(path: Path, vault: Vault) -> bytes:
    """What is in an encrypted file. Raises VaultError, UsageError."""
    return vault.decrypt(_vaulttext(path), Line(shown(path)))


def rekey_files(paths: Sequence[Path], vault: Vault, password: VaultPassword) -> None:
    """Gives files another password. All are decrypted before the first is written, so that it is all or none."""
    plaintexts = {path: decrypt_file(path, vault) for path in paths}
    for path, plaintext in plaintexts.items():
        replace(path, encrypt(plaintext, password))


def edit_file(path: Path, vault: Vault, *, editor: str) -> bool:
    """Lets ``editor`` (a command line) change an encrypted file, or make one where there is none.

    Returns whether anything was changed. Raises VaultError; what was edited is never lost: where it can't replace the
    file, it is kept encrypted beside it, and the error says where.
    """
    before, plaintext, password = None, b"", vault.passwords[0] if vault.passwords else None
    if path.exists():
        before = _vaulttext(path)
        plaintext, fitting, label = vault.open(before, Line(shown(path)))
        password = VaultPassword(fitting.password, label)
    if password is None:
        raise VaultError("there is no vault password to encrypt with", where=shown(path), hint="name one: --vault-id")
    edited = _edited(plaintext, path.suffix, editor)
    if edited == plaintext:
        return False
    vaulttext = encrypt(edited, password)
    if before is not None and _read(path) != before:
        kept = path.with_name(f"{path.name}.edited")
        replace(kept, vaulttext)
        raise VaultError("was changed by somebody else meanwhile", where=shown(path), hint=f"your version is in {kept}")
    replace(path, vaulttext)
    return True


def replace(path: Path, vaulttext: str) -> None:
    """Puts ``vaulttext`` in the place of ``path`` at once, with its mode and owner, or 0600. Follows a link."""
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(vaulttext)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, beside)
                with contextlib.suppress(PermissionError):  # somebody else's file becomes ours, as with any editor
                    os.chown(beside, path.stat().st_uid, path.stat().st_gid)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise VaultError(f"can't be written: {reason(error)}", where=shown(path)) from error


def chosen(passwords: Sequence[VaultPassword], label: str = "") -> VaultPassword:
    """The password to encrypt with: the one called ``label``, else the first. Raises VaultError where there is none."""
    if not passwords:
        raise VaultError("there is no vault password to encrypt with", hint="name one: --vault-password-file FILE")
    found = next((each for each in passwords if each.label == label), None) if label else passwords[0]
    if found is None:
        labels = ", ".join(each.label for each in passwords)
        raise UsageError(f"no vault password is called {label!r}", hint=f"there are: {labels}")
    return found


def inline(name: str, plaintext: bytes, password: VaultPassword) -> str:
    """A value as it may stand in a YAML file: ``name: !vault |`` and the vault text, indented."""
    lines = "\n".join(f"          {line}" for line in encrypt(plaintext, password).splitlines())
    return (f"{name}: " if name else "") + f"!vault |\n{lines}"


def _edited(plaintext: bytes, suffix: str, editor: str) -> bytes:
    with _private_directory() as directory:
        path = directory / f"secret{suffix}"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(plaintext)
        command = [*shlex.split(editor), str(path)]
        try:
            status = subprocess.run(command, check=False).returncode
        except OSError as error:
            raise UsageError(f"the editor {editor!r} can't be run: {reason(error)}", hint="set EDITOR") from error
        if status:
            raise VaultError(f"the editor ended with {status}: nothing was changed")
        return path.read_bytes()


@contextlib.contextmanager
def _private_directory() -> Iterator[Path]:
    """A new directory, 0700, on a file system that lives in memory; overwritten and removed at the end."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    in_memory = {fields[1] for fields in mounts if fields[2] in ("tmpfs", "ramfs")}
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm", "/run"]  # noqa: S108 - made private below
    place = next((each for each in places if each in in_memory and os.access(each, os.W_OK)), None)
    if place is None:
        raise VaultError("there is no tmpfs to edit in", hint="mount one on /dev/shm: plaintext never goes to a disk")
    directory = Path(tempfile.mkdtemp(prefix="fleet-", dir=place))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _vaulttext(path: Path) -> bytes:
    content = _read(path)
    if not is_vault(content):
        raise UsageError("isn't encrypted", where=shown(path), hint="secret.encrypt does that")
    return content


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UsageError("no such file" if not path.exists() else "not a regular file", where=shown(path))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"can't be read: {reason(error)}", where=shown(path)) from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"larger than {MAX_BYTES // 2**20} MiB", where=shown(path))
    return content
