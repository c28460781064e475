"""Groups and hosts while the sources are read, with Ansible's rules for how they belong together.

``all`` and ``ungrouped`` are always there; a group without a parent belongs to ``all``; a host in no other
group belongs to ``ungrouped``; a group's depth is its longest way down from ``all``.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from fleet.errors import InventoryError
from fleet.inventory.values import Place, in_clear

ALL, UNGROUPED = "all", "ungrouped"
LOCALHOST = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Layer:
    """Variables that were set together: by whom, their values, where they stand."""

    owner: str
    values: Mapping[str, object]
    place: Place


@dataclass(eq=False)
class Member:
    """What groups and hosts have in common: a name and the variables set in the sources, in order."""

    name: str
    layers: list[Layer] = field(default_factory=list)


@dataclass(eq=False)
class Group(Member):
    """A group: its own hosts and its children, both in the order in which they were added."""

    hosts: dict[str, HostEntry] = field(default_factory=dict)
    children: list[Group] = field(default_factory=list)
    parents: list[Group] = field(default_factory=list)
    priority: int = 1
    depth: int = 0

    def ancestors(self) -> set[Group]:
        """Every group above this one."""
        return _closure(self.parents)

    def below(self) -> list[HostEntry]:
        """The hosts of this group and of all groups below, level by level, each once."""
        order, level, seen = [self], [self], {self}
        while level:
            level = list(dict.fromkeys(child for group in level for child in group.children if child not in seen))
            seen.update(level)
            order += level
        found = {host.name: host for group in order for host in group.hosts.values()}
        return list(found.values())


@dataclass(eq=False)
class HostEntry(Member):
    """A host, the groups that name it, and the source in which it was met first."""

    groups: list[Group] = field(default_factory=list)
    source: str | None = None
    left: frozenset[Group] = frozenset()

    def all_groups(self) -> set[Group]:
        """The groups that name this host and all groups above them, but for those that it left."""
        return _closure(self.groups) - self.left

    def leave(self, group: Group) -> None:
        """Takes the host out of ``group``, and of what is above that and above no other of its groups.

        It stays out where it belongs to ``group`` by a child of that as well, which is so in Ansible.
        """
        before = self.all_groups()
        stays = set(before)
        waiting = [group]
        while waiting:
            gone = waiting.pop()
            stays.discard(gone)
            above = (each for each in gone.ancestors() & stays if each.name != ALL)
            waiting += [each for each in above if not any(each in other.ancestors() for other in stays)]
        self.left = frozenset(before - stays)
        del group.hosts[self.name]
        self.groups.remove(group)


class Graph:
    """The groups and hosts of an inventory, as its sources add to them."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self.hosts: dict[str, HostEntry] = {}
        self.source: str | None = None
        for name in (ALL, UNGROUPED):
            self.add_group(name)
        self.add_child(ALL, UNGROUPED)

    def add_group(self, name: object) -> Group:
        """The group ``name``, new where there was none. Raises InventoryError for what can't be a name."""
        name = _name(name, "group")
        if name not in self.groups:
            self.groups[name] = Group(name)
        return self.groups[name]

    def add_host(self, name: object, group: Group, *, port: int | None, place: Place) -> HostEntry:
        """The host ``name`` in ``group``. A port counts only where the host is new, as in Ansible."""
        name = _name(name, "host")
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = HostEntry(name, source=self.source)
            if port:
                host.layers.append(Layer(f"host {name}", {"ansible_port": port}, place))
        if name not in group.hosts:
            group.hosts[name] = host
            host.groups.append(group)
        return host

    def add_child(self, parent: str, child: str) -> None:
        """Makes the group or host ``child`` a member of ``parent``. Raises InventoryError for a cycle."""
        above = self.groups[parent]
        if child not in self.groups:
            if child not in self.hosts:
                raise InventoryError(f"{child!r} is neither a group nor a host")
            host = self.hosts[child]
            if child not in above.hosts:
                above.hosts[child] = host
                host.groups.append(above)
            return
        below = self.groups[child]
        if above is below:
            raise InventoryError(f"group {child!r} can't be a child of itself")
        if below in above.children:
            return
        if below.children and below in above.ancestors():
            raise InventoryError(f"group {child!r} can't be a child of {parent!r}: it is already above it")
        above.children.append(below)
        below.parents.append(above)

    def set_variables(self, member: Member, values: Mapping[str, object], place: Place) -> None:
        """Adds variables to a group or host. A group's ``ansible_group_priority`` orders it and is no variable.

        What is set for a host that is called like a group goes to the group, as in Ansible.
        """
        member = self.groups.get(member.name, member)
        if isinstance(member, Group):
            if "ansible_group_priority" in values:
                member.priority = _priority(values["ansible_group_priority"], member.name)
                values = {name: value for name, value in values.items() if name != "ansible_group_priority"}
            owner = f"group {member.name}"
        else:
            owner = f"host {member.name}"
        if values:
            member.layers.append(Layer(owner, values, place))

    def settle(self) -> list[str]:
        """After the last source: the rules for ``all``, ``ungrouped`` and depth. Returns warnings."""
        everything, ungrouped = self.groups[ALL], self.groups[UNGROUPED]
        for group in self.groups.values():
            if group is not everything and not group.parents:
                self.add_child(ALL, group.name)
        for host in self.hosts.values():
            groups = host.all_groups()
            if ungrouped in groups:
                if groups - {everything, ungrouped} and host.name in ungrouped.hosts:
                    host.leave(ungrouped)
            elif groups <= {everything}:
                self.add_child(UNGROUPED, host.name)
        _set_depths(everything)
        twins = sorted(self.groups.keys() & self.hosts.keys())
        return [f"{name!r} is both a group and a host: a pattern finds the group" for name in twins]

    def edges(self) -> Iterator[tuple[str, str]]:
        """Every parent and child."""
        for group in self.groups.values():
            for child in group.children:
                yield group.name, child.name


def _name(name: object, kind: str) -> str:
    """``name`` where it can be one: a text, not empty, without the NUL that no file's name can hold."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise InventoryError(f"a {kind}'s name must be a text, not {name!r}", hint=f"put it in quotes: '{name}'")
    return name


def _closure(groups: Iterable[Group]) -> set[Group]:
    """``groups`` and all above them."""
    found: set[Group] = set()
    waiting = list(groups)
    while waiting:
        group = waiting.pop()
        if group not in found:
            found.add(group)
            waiting += group.parents
    return found


def _set_depths(top: Group) -> None:
    """The longest way from ``top`` to each group; there are no cycles."""
    level = [top]
    while level:
        below: dict[Group, None] = {}
        for group in level:
            for child in group.children:
                if child.depth <= group.depth:
                    child.depth = group.depth + 1
                    below[child] = None
        level = list(below)


def _priority(value: object, group: str) -> int:
    plain = in_clear(value)
    try:
        return int(plain) if isinstance(plain, (str, float)) else operator.index(plain)  # type: ignore[arg-type]  # whatever has __index__, as Ansible takes it
    except (TypeError, ValueError, OverflowError):
        raise InventoryError(f"ansible_group_priority of {group!r} must be a whole number, not {value!r}") from None
