"""The inventory: all hosts and groups, found by patterns, each host with what Ansible would give it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from fleet.errors import UsageError
from fleet.inventory.ansible_cfg import read_config
from fleet.inventory.groups import ALL, LOCALHOST, Graph, Group, HostEntry, Layer
from fleet.inventory.host import Host
from fleet.inventory.passwords import read_passwords
from fleet.inventory.patterns import Matcher, limit_patterns, split
from fleet.inventory.problems import Problems
from fleet.inventory.ranges import is_address
from fleet.inventory.sources import read_source
from fleet.inventory.values import Line
from fleet.inventory.variables import VariableDirectory, VariableReader
from fleet.inventory.vault import Vault, VaultPasswords

#: Names that Ansible keeps for itself: whatever an inventory says of them, no host has them as variables.
#: Source: ``INTERNAL_STATIC_VARS`` in ansible/constants.py of ansible-core 2.19.
KEPT_BY_ANSIBLE = frozenset(
    """
    ansible_async_path ansible_collection_name ansible_config_file ansible_dependent_role_names ansible_diff_mode
    ansible_facts ansible_forks ansible_inventory_sources ansible_limit ansible_play_batch ansible_play_hosts
    ansible_play_hosts_all ansible_play_role_names ansible_playbook_python ansible_role_name ansible_role_names
    ansible_run_tags ansible_skip_tags ansible_verbosity ansible_version inventory_dir inventory_file
    inventory_hostname inventory_hostname_short groups group_names hostvars playbook_dir play_hosts role_name
    role_names role_path role_uuid
    """.split()  # noqa: SIM905 - as a list, these names would fill a page
)


def load(
    sources: Sequence[str | Path], *, passwords: VaultPasswords | None = None, playbook_dir: str | Path = "."
) -> Inventory:
    """The inventory that ``sources`` describe, later ones over earlier ones.

    Files of variables are read when a host is asked for: beside each source, and in ``playbook_dir``, which is the
    working directory for ``ansible-inventory`` too. Raises InventoryError, VaultError, or Findings for several.
    """
    config = read_config()
    warnings = list(config.warnings)
    graph, vault = Graph(), Vault(tuple(read_passwords() if passwords is None else passwords))
    problems = Problems()
    names = [str(Path(os.path.expandvars(source)).expanduser()) for source in sources]
    for source in names:
        with problems.at(Line(source)):
            read_source(source, graph, vault, warnings.append, config.ignored)
    problems.check()
    warnings += graph.settle()
    beside = _beside(names)
    directories = _last_of_each([*beside, Path(playbook_dir)])
    return Inventory(graph, vault, (beside or directories)[0], directories, Path(playbook_dir), warnings)


class Inventory:
    """Hosts and groups, settled. ``warnings`` and ``encrypted_files`` grow while hosts are read.

    ``directory`` is the first source's: what belongs to an inventory (lock files) lies there. ``group_files`` and
    ``host_files`` are where files of variables may lie, the lowest first.
    """

    def __init__(
        self,
        graph: Graph,
        vault: Vault,
        directory: Path,
        directories: Sequence[Path],
        playbook_dir: Path,
        warnings: list[str],
    ) -> None:
        self._graph = graph
        self.directory = directory
        self._playbook_dir = playbook_dir
        self.warnings = warnings
        reader = VariableReader(vault, warnings.append)
        self.group_files = [VariableDirectory(each, "group", reader) for each in directories]
        self.host_files = [VariableDirectory(each, "host", reader) for each in directories]
        self.encrypted_files = reader.encrypted
        self._hosts: dict[str, Host] = {}
        self._group_layers: dict[frozenset[Group], tuple[tuple[Layer, ...], dict[str, object]]] = {}

    @property
    def groups(self) -> Mapping[str, Group]:
        """All groups by name, in the order in which they were met."""
        return self._graph.groups

    def names(self, pattern: str = ALL, limit: str | None = None) -> list[str]:
        """The names of the hosts that match, in Ansible's order; [] where nothing does. Raises UsageError."""
        matcher = Matcher(self._graph, self.warnings.append)
        names = matcher.names(split(pattern))
        if limit is None:
            return names
        within = set(matcher.names(limit_patterns(limit)))
        return [name for name in names if name in within]

    def host(self, name: str) -> Host:
        """The host ``name``. Raises UsageError where there is none, InventoryError and VaultError for its files."""
        if name not in self._hosts:
            entry = self._graph.hosts.get(name)
            if entry is None:
                if name not in LOCALHOST:
                    raise UsageError(f"no host {name!r} in the inventory")
                local = {"ansible_connection": "local"}
                entry = HostEntry(name, layers=[Layer("this machine", local, Line("implicit localhost"))])
            self._hosts[name] = self._assemble(entry)
        return self._hosts[name]

    def _assemble(self, entry: HostEntry) -> Host:
        groups = frozenset(entry.all_groups())
        layers, variables = self._from_groups(groups)
        own = [*entry.layers, *(layer for files in self.host_files for layer in files.of(entry.name))]
        merged = dict(variables)
        for layer in own:
            merged.update(layer.values)
        for name in KEPT_BY_ANSIBLE & merged.keys():
            del merged[name]
        group_names = tuple(sorted(group.name for group in groups if group.name != ALL))
        given = partial(self._given, entry, group_names)
        return Host(entry.name, group_names, merged, (*layers, *own), given)

    def _from_groups(self, groups: frozenset[Group]) -> tuple[tuple[Layer, ...], dict[str, object]]:
        """What the groups give, lowest first, and merged; hosts of the same groups share it.

        The order is Ansible's default (VARIABLE_PRECEDENCE): what sources say of `all`, then of other groups; files
        for `all`, then for other groups. So a file for `all` beats what a source says of any group.
        """
        if groups not in self._group_layers:
            everything = self._graph.groups[ALL]
            others = sorted(groups - {everything}, key=lambda group: (group.depth, group.priority, group.name))
            layers = [
                *everything.layers,
                *(layer for group in others for layer in group.layers),
                *(layer for files in self.group_files for layer in files.of(ALL)),
                *(layer for files in self.group_files for group in others for layer in files.of(group.name)),
            ]
            merged: dict[str, object] = {}
            for layer in layers:
                merged.update(layer.values)
            self._group_layers[groups] = tuple(layers), merged
        return self._group_layers[groups]

    def _given(self, entry: HostEntry, group_names: tuple[str, ...]) -> Mapping[str, object]:
        """The names that expressions know beside the host's variables."""
        source = Path(entry.source) if entry.source else None
        return {
            "inventory_hostname": entry.name,
            "inventory_hostname_short": entry.name if is_address(entry.name) else entry.name.split(".")[0],
            "group_names": list(group_names),
            "inventory_file": entry.source,
            "inventory_dir": str(source.parent) if source and source.is_file() else None,
            **self._shared,
        }

    @cached_property
    def _shared(self) -> Mapping[str, object]:
        """The names that are the same for all hosts."""
        return {
            "groups": _Members(self._graph),
            "hostvars": _HostVars(self),
            "playbook_dir": str(self._playbook_dir.absolute()),
        }


class _Members(Mapping[str, object]):
    """Each group's hosts, with those of the groups below it: what expressions know as ``groups``."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, list[str]] = {}

    def __getitem__(self, name: str) -> object:
        if name not in self._known:
            self._known[name] = [host.name for host in self._graph.groups[name].below()]
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._graph.groups)

    def __len__(self) -> int:
        return len(self._graph.groups)


class _HostVars(Mapping[str, object]):
    """Every host's variables by its name, as expressions know them."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def __getitem__(self, name: str) -> object:
        if name not in self._inventory.names(ALL):
            raise KeyError(name)
        return self._inventory.host(name).references.everything()

    def __iter__(self) -> Iterator[str]:
        return iter(self._inventory.names(ALL))

    def __len__(self) -> int:
        return len(self._inventory.names(ALL))


def _beside(sources: Iterable[str]) -> list[Path]:
    """Each source's directory; lists of names have none."""
    paths = [Path(source) for source in sources if "," not in source or Path(source).exists()]
    return [path if path.is_dir() else path.parent for path in paths]


def _last_of_each(directories: Iterable[Path]) -> list[Path]:
    """A directory that comes twice counts where it comes last, which is what reading it twice amounts to."""
    found: dict[Path, Path] = {}
    for directory in directories:
        real = directory.resolve()
        found[real] = found.pop(real, directory)
    return list(found.values())
