"""One host of the inventory: its groups, its variables, how to reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fleet.errors import InventoryError
from fleet.inventory.connection import PASSWORDS, Connection, connection_of
from fleet.inventory.groups import Layer
from fleet.inventory.values import Origin, secreted

if TYPE_CHECKING:
    from fleet.inventory.references import References


@dataclass(frozen=True, eq=False)
class Host:
    """A host as its groups and files describe it. ``variables`` are merged and raw: nothing in them is resolved."""

    name: str
    groups: tuple[str, ...]
    variables: Mapping[str, object] = field(repr=False)
    layers: tuple[Layer, ...] = field(repr=False)
    _given: Callable[[], Mapping[str, object]] = field(repr=False)

    def has(self, variable: str) -> bool:
        """Whether the inventory sets ``variable`` for this host."""
        return variable in self.variables

    def resolve(self, variable: str) -> object:
        """The value of ``variable``, references in it resolved; passwords, and what was in a vault, as Secret.

        Raises InventoryError where it isn't set, TemplateError where a reference fails, VaultError.
        """
        if not self.has(variable) and variable not in self.given:
            raise InventoryError(f"{variable!r} isn't set for {self.name}", hint=f"set it in host_vars/{self.name}.yml")
        return self.references.resolve(variable)

    def origin(self, variable: str, *path: str | int) -> Origin | None:
        """Where the value of ``variable``, or the one at ``path`` inside it, stands; None where it isn't set."""
        layer = next(self.setting(variable), None)
        return layer.place.origin(variable, *path) if layer else None

    def setting(self, variable: str) -> Iterator[Layer]:
        """The layers that set ``variable``: first the one that counts, then those that it beat."""
        return (layer for layer in reversed(self.layers) if variable in layer.values)

    @cached_property
    def given(self) -> Mapping[str, object]:
        """The names that expressions know beside the host's variables: ``groups``, ``inventory_hostname``…"""
        return self._given()

    @cached_property
    def references(self) -> References:
        """The variables for expressions. Jinja2 is imported here: lists and graphs go without."""
        from fleet.inventory.references import References

        passwords = {name: secreted(self.variables[name]) for name in PASSWORDS & self.variables.keys()}
        raw = {**self.variables, **passwords} if passwords else self.variables
        return References(raw, self.given, lambda name, *path: self.origin(name, *path) or self.name)

    def connection(self) -> Connection:
        """How to reach this host. Raises InventoryError for a value of the wrong kind, TemplateError, VaultError."""
        return connection_of(self)
