"""Inventory sources: which reader takes a file, and in what order a directory is read.

Readers are tried in Ansible's order: a list with commas, a script, YAML, INI, TOML. The first that understands
the file wins. Unlike in Ansible, a source that none understands is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from fleet.errors import InputError, InventoryError, VaultError
from fleet.inventory.documents import Document
from fleet.inventory.files import Content, names_in, read, shown
from fleet.inventory.groups import UNGROUPED, Graph
from fleet.inventory.ini import read_ini
from fleet.inventory.problems import Problems
from fleet.inventory.ranges import split_port
from fleet.inventory.script import NotScript, read_script
from fleet.inventory.toml_source import read_toml
from fleet.inventory.values import Line
from fleet.inventory.vault import Vault
from fleet.inventory.yaml_source import read_yaml

_YAML = ("", ".yaml", ".yml", ".json")
_Warn = Callable[[str], None]


def read_source(source: str, graph: Graph, vault: Vault, warn: _Warn, ignored: re.Pattern[str]) -> None:
    """Adds what ``source`` says to ``graph``: a file, a directory, a script, or names with commas.

    In a directory, names that ``ignored`` finds something in are skipped.
    Raises InventoryError, VaultError, or Findings where several files of a directory are broken.
    """
    if "," in source and not Path(source).exists():
        _read_list(source, graph)
        return
    path = Path(source)
    if not os.path.lexists(path):
        raise InventoryError(
            "no such inventory source", where=shown(source), hint="check --inventory and FLEET_INVENTORY"
        )
    files = list(_files(path, ignored, ()))
    if not files:
        raise InventoryError(
            "no inventory in this directory", where=shown(source), hint="it holds only what Ansible skips"
        )
    problems = Problems()
    for file in files:
        with problems.at(Line(shown(file))):
            _read_file(file, graph, vault, warn)
    problems.check()


def _files(path: Path, ignored: re.Pattern[str], above: tuple[Path, ...]) -> Iterator[Path]:
    """``path`` itself, or the files below it as Ansible walks them."""
    if not path.is_dir():
        yield path
        return
    real = path.resolve()
    if real in above:
        raise InventoryError("a symbolic link leads back to a directory above it", where=shown(path))
    for name in names_in(path):
        if not ignored.search(name):
            yield from _files(path / name, ignored, (*above, real))


def _read_list(source: str, graph: Graph) -> None:
    """Names with commas between them, each with a port or without."""
    graph.source = source
    place = Line(source)
    for word in filter(None, map(str.strip, source.split(","))):
        split = split_port(word)
        name, port = split if split and "[" not in split[0] else (word, None)
        if name not in graph.hosts:
            graph.add_host(name, graph.groups[UNGROUPED], port=port, place=place)


def _read_file(path: Path, graph: Graph, vault: Vault, warn: _Warn) -> None:
    """Lets each reader that may know this kind of file try it."""
    graph.source = os.path.abspath(path)  # noqa: PTH100 - without following links, as Ansible does
    failures: list[InputError] = []
    if os.access(path, os.X_OK):
        try:
            read_script(path, graph, vault, warn)
            return
        except NotScript:
            pass
        except InventoryError as error:
            failures.append(error)
    content = read(path, vault)
    for reader in _readers(path):
        said: list[str] = []
        try:
            reader(content, graph, vault, said.append)
        except InputError as error:
            failures.append(error)
        else:
            for text in said:
                warn(text)
            return
    raise _most_telling(failures, path, content)


def _readers(path: Path) -> Iterator[Callable[[Content, Graph, Vault, _Warn], None]]:
    if path.suffix in _YAML:
        yield lambda content, graph, vault, warn: read_yaml(Document(content, vault, warn), graph, warn)
    if path.suffix == ".toml":
        yield lambda content, graph, _vault, warn: read_toml(content, graph, warn)
    else:
        yield lambda content, graph, _vault, _warn: read_ini(content, graph)


def _most_telling(failures: list[InputError], path: Path, content: Content) -> InputError:
    """Of what several readers said about one file, the words of the reader that it was meant for."""
    first = failures[0]
    if len(failures) == 1 or isinstance(first, VaultError):
        return first
    significant = (line.strip() for line in content.data.splitlines())
    opening = next((line for line in significant if line and line[:1] not in b"#;"), b"")
    looks_ini = path.suffix not in _YAML[1:] and (opening.startswith(b"[") or b":" not in opening)
    return failures[-1] if looks_ini else first
