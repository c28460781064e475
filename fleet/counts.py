"""So many hosts, or so many of a hundred: ``5``, ``25%``, and lists of them: ``1,5,25%``."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """A number of hosts, or a percentage of them."""

    number: int
    percent: bool = False

    @classmethod
    def read(cls, text: object) -> Count:
        """From ``5`` or ``25%``.

        Raises:
            ValueError: it is neither, in words that a finding can show.
        """
        found = re.fullmatch(r"\s*([0-9]{1,6})\s*(%?)\s*", str(text))
        if not found or (found[2] and int(found[1]) > 100):
            msg = f"{text!r} is neither a count nor a percentage, e.g. 5, or 25%"
            raise ValueError(msg)
        return cls(int(found[1]), bool(found[2]))

    def of(self, total: int) -> int:
        """The count for ``total`` hosts; a percentage is rounded down, and never to less than one host."""
        return max(1, total * self.number // 100) if self.percent and self.number else self.number

    def at_most(self, total: int) -> int:
        """The count for ``total`` hosts as a limit: a percentage is rounded down, to none if need be."""
        return total * self.number // 100 if self.percent else self.number

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)


def counts(text: object) -> tuple[Count, ...]:
    """``1,5,25%`` as counts.

    Raises:
        ValueError: one of them is none, or zero.
    """
    found = tuple(Count.read(part) for part in str(text).split(","))
    if not all(count.number for count in found):
        msg = f"{text!r}: a wave of no hosts never ends; say it as 1,5,25%"
        raise ValueError(msg)
    return found
