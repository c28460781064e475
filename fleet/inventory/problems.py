"""Errors gathered while a source is read: nobody should have to fix one to see the next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fleet.errors import Findings, InputError, InventoryError
from fleet.inventory.values import Place

#: After so many errors in one file, it is something else than an inventory.
ENOUGH = 20


class Problems:
    """The errors met so far. ``with problems.at(place): …`` keeps an error that is raised inside, and goes on."""

    def __init__(self) -> None:
        self.found: list[InputError] = []

    def at(self, place: Place) -> _At:
        """Keeps an error, gives it ``place`` where it knows none of its own, and goes on after the ``with``."""
        return _At(self, place)

    def keep(self, error: InputError) -> None:
        """Keeps ``error``; several in one are taken apart. Raises them all when there are enough."""
        self.found += error.errors if isinstance(error, Findings) else [error]
        if self.full:
            self.check()

    @property
    def full(self) -> bool:
        """Whether there is no point in going on."""
        return len(self.found) >= ENOUGH

    def check(self) -> None:
        """Raises what was kept: the one error, or Findings."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise Findings(self.found)


def nearest(name: str, names: Iterable[str]) -> str:
    """``: did you mean …?`` where one of ``names`` is near, else nothing."""
    close = difflib.get_close_matches(name, names, n=1)
    return f": did you mean {close[0]!r}?" if close else ""


@contextmanager
def unseen(encrypted: bool) -> Iterator[None]:
    """Keeps the words of an encrypted file out of errors, which quote what they are about."""
    try:
        yield
    except InventoryError:
        if not encrypted:
            raise
        raise InventoryError("can't be read (what an encrypted file says isn't shown)") from None


class _At:
    __slots__ = ("_place", "_problems")

    def __init__(self, problems: Problems, place: Place) -> None:
        self._problems, self._place = problems, place

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, InputError) or self._problems.full:
            return False
        if isinstance(error, InventoryError) and not error.where:
            error.where = str(self._place.origin())
        self._problems.keep(error)
        return True
