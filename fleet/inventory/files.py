"""Reading files: regular, of bounded size, decrypted where they are a vault."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import InventoryError
from fleet.inventory.values import Line
from fleet.inventory.vault import Vault, is_vault

#: The most that is read of one file, in bytes. 5,000 hosts with ten variables each take 2 MiB.
MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Content:
    """What a file holds, in clear; ``encrypted`` says whether it lay on disk as a vault."""

    path: str
    data: bytes
    encrypted: bool = False

    @property
    def text(self) -> str:
        """The content as text. Raises InventoryError where it isn't UTF-8."""
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            raise InventoryError(
                f"not UTF-8: byte 0x{self.data[error.start]:02x}",
                where=f"{self.path}:{line}",
                hint="save the file as UTF-8",
            ) from None


def read(path: Path, vault: Vault) -> Content:
    """The content of ``path``, decrypted where it is a vault.

    Raises InventoryError where it can't be read or is larger than :data:`MAX_BYTES`, VaultError where
    no password fits.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InventoryError("not a regular file", where=str(path))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InventoryError(f"can't be read: {reason(error)}", where=shown(path)) from error
    if len(data) > MAX_BYTES:
        raise InventoryError(
            f"larger than {MAX_BYTES // 2**20} MiB",
            where=str(path),
            hint="is this an inventory? A directory of several files has no such limit",
        )
    if is_vault(data):
        return Content(str(path), vault.decrypt(data, Line(str(path))), encrypted=True)
    return Content(str(path), data)


def names_in(directory: Path) -> list[str]:
    """The names in ``directory``, sorted. Raises InventoryError where it can't be read."""
    try:
        return sorted(path.name for path in directory.iterdir())
    except (OSError, ValueError) as error:
        raise InventoryError(f"can't be read: {reason(error)}", where=shown(directory)) from error


def reason(error: Exception) -> str:
    """Why the operating system said no, in its own words and without the path."""
    return (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)).lower()


def shown(path: str | Path) -> str:
    """A path as it may be printed: bytes that aren't text are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()
