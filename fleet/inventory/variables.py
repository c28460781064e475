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


class VariableFiles:
    """The variable files beside the sources and beside the playbook, each read once and only when asked for."""

    def __init__(self, vault: Vault, warn: Callable[[str], None]) -> None:
        self._vault = vault
        self._warn = warn
        self._entries: dict[Path, frozenset[str]] = {}
        self._documents: dict[Path, Document] = {}
        self._layers: dict[tuple[Path, str], tuple[Layer, ...]] = {}
        #: The files that lay there as a vault.
        self.encrypted: list[str] = []

    def of_group(self, directory: Path, name: str) -> tuple[Layer, ...]:
        """What ``directory``/group_vars says of the group ``name``. Raises InventoryError, VaultError."""
        return self._of(directory / "group_vars", name, f"group {name}")

    def of_host(self, directory: Path, name: str) -> tuple[Layer, ...]:
        """What ``directory``/host_vars says of the host ``name``. Raises InventoryError, VaultError."""
        return self._of(directory / "host_vars", name, f"host {name}")

    def names(self, directory: Path) -> Iterator[tuple[Path, str]]:
        """What lies in a group_vars or host_vars directory, with the name of the group or host that it would be for."""
        for name in sorted(self._listed(directory)):
            path = directory / name
            if not name.startswith(".") and not name.endswith("~"):
                if path.is_dir():
                    yield path, name
                elif path.suffix in _EXTENSIONS[1:]:
                    yield path, path.stem

    def _of(self, directory: Path, name: str, owner: str) -> tuple[Layer, ...]:
        key = (directory, name)
        if key not in self._layers:
            layers = (self._layer(path, owner) for path in self._find(directory, name))
            self._layers[key] = tuple(layer for layer in layers if layer.values)
        return self._layers[key]

    def _find(self, directory: Path, name: str) -> Iterator[Path]:
        """The files for ``name``: the first of the possible names that is there, or all that a directory holds."""
        if name.startswith("/") or not self._mentions(directory, name):
            return
        for extension in _EXTENSIONS:
            path = directory / f"{name}{extension}"
            if path.is_dir():
                yield from _files_below(path, ())
                return
            if path.exists():
                yield path
                return

    def _mentions(self, directory: Path, name: str) -> bool:
        """Whether a file there may be about ``name``; most aren't, and asking the disk each time is slow."""
        entries = self._listed(directory)
        if "/" in name or name in (".", ".."):
            return bool(entries)
        return any(f"{name}{extension}" in entries for extension in _EXTENSIONS)

    def _listed(self, directory: Path) -> frozenset[str]:
        if directory not in self._entries:
            try:
                self._entries[directory] = frozenset(names_in(directory))
            except InventoryError:  # there is none, or it is a file
                self._entries[directory] = frozenset()
        return self._entries[directory]

    def _layer(self, path: Path, owner: str) -> Layer:
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
