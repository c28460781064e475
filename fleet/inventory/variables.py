"""``group_vars/`` and ``host_vars/``: which files speak for a group or host, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from fleet.errors import InventoryError
from fleet.inventory.documents import Document
from fleet.inventory.files import names_in, read, shown
from fleet.inventory.groups import Layer
from fleet.inventory.vault import Vault

_EXTENSIONS = ("", ".yml", ".yaml", ".json")


class VariableReader:
    """Reads files of variables, each once."""

    def __init__(self, vault: Vault, warn: Callable[[str], None]) -> None:
        self._vault = vault
        self._warn = warn
        self._documents: dict[Path, Document] = {}
        #: The files that lay there as a vault.
        self.encrypted: list[str] = []

    def layer(self, path: Path, owner: str) -> Layer:
        """What the file says, for ``owner``. Raises InventoryError, VaultError."""
        if path not in self._documents:
            content = read(path, self._vault)
            if content.encrypted:
                self.encrypted.append(str(path))
            self._documents[path] = Document(content, self._vault, self._warn)
        document = self._documents[path]
        values = document.value or {}
        if not isinstance(values, Mapping):
            raise InventoryError(
                "a file of variables is a mapping of names to values",
                where=str(document.at().origin(0)),
                hint="name: value",
            )
        return Layer(owner, document.variables(values), document.at())


class VariableDirectory:
    """One group_vars or host_vars directory, there or not. ``kind`` is "group" or "host"."""

    def __init__(self, beside: Path, kind: str, reader: VariableReader) -> None:
        self.kind = kind
        self._path = beside / f"{kind}_vars"
        self._reader = reader
        self._layers: dict[str, tuple[Layer, ...]] = {}
        try:
            self._entries = frozenset(names_in(self._path))
        except InventoryError:  # there is none, or it is a file
            self._entries = frozenset()

    def of(self, name: str) -> tuple[Layer, ...]:
        """What its files say of the group or host ``name``. Raises InventoryError, VaultError."""
        if not self._entries:
            return ()
        if name not in self._layers:
            layers = [self._reader.layer(path, f"{self.kind} {name}") for path in self._files(name)]
            self._layers[name] = tuple(layer for layer in layers if layer.values)
        return self._layers[name]

    def names(self) -> Iterator[tuple[Path, str]]:
        """What lies there, with the name of the group or host that it would be for."""
        for entry in sorted(self._entries):
            path = self._path / entry
            if not entry.startswith(".") and not entry.endswith("~"):
                if path.is_dir():
                    yield path, entry
                elif path.suffix in _EXTENSIONS[1:]:
                    yield path, path.stem

    def _files(self, name: str) -> Iterator[Path]:
        """The files for ``name``: the first of the possible names that is there, or all that a directory holds."""
        elsewhere = "/" in name or name in (".", "..")  # Ansible joins paths without looking
        if name.startswith("/"):
            return
        for extension in _EXTENSIONS:
            if not elsewhere and f"{name}{extension}" not in self._entries:
                continue  # most groups and hosts have no file: known without asking the disk
            path = self._path / f"{name}{extension}"
            if path.is_dir():
                yield from _files_below(path, ())
                return
            if path.exists():
                yield path
                return


def _files_below(directory: Path, above: Sequence[Path]) -> Iterator[Path]:
    """The variable files below a directory, as Ansible walks them: sorted, without hidden ones and backups."""
    real = directory.resolve()
    if real in above:
        raise InventoryError("a symbolic link leads back to a directory above it", where=shown(directory))
    for name in names_in(directory):
        path, extension = directory / name, Path(name).suffix
        if name.startswith(".") or name.endswith("~"):
            continue
        if path.is_dir():
            if not extension:
                yield from _files_below(path, (*above, real))
        elif path.is_file() and extension in _EXTENSIONS:
            yield path
