"""Sweeps: the same question over several dtypes, splits, batch sizes and numbers of requests at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fleet.errors import UsageError
from fleet.sizing.answer import Answer, Request


@dataclass(frozen=True)
class Grid:
    """What is swept. ``batch_sizes`` are max-num-seqs, ``concurrency`` the requests that shall fit at once."""

    dtypes: tuple[str, ...] = ()
    tp: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    concurrency: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.dtypes or self.tp or self.batch_sizes or self.concurrency)


def numbers(option: str, text: str) -> tuple[int, ...]:
    """``1,2,4`` → ``(1, 2, 4)``; :class:`UsageError` for what isn't a list of whole numbers above 0."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if any(not part.isdigit() or int(part) < 1 for part in parts):
        raise UsageError(f"{option} {text!r} is no list of whole numbers", hint=f"write it as {option} 1,2,4")
    return tuple(int(part) for part in parts)


def cases(request: Request, grid: Grid) -> Iterator[tuple[dict[str, object], Request, int | None]]:
    """``(what varies, the request, requests that shall fit at once)`` for every point of the grid."""
    given = dict(request.args or {})
    axes: Sequence[Sequence[object]] = [
        values or (None,) for values in (grid.dtypes, grid.tp, grid.batch_sizes, grid.concurrency)
    ]
    for dtype, tp, batch, at_once in itertools.product(*axes):
        set_ = {"dtype": dtype, "tensor-parallel-size": tp, "max-num-seqs": batch}
        args = {**given, **{name: value for name, value in set_.items() if value is not None}}
        varied = {"dtype": dtype, "tp": tp, "max-num-seqs": batch, "wanted at once": at_once}
        shown = {name: value for name, value in varied.items() if value is not None}
        yield shown, replace(request, args=args, auto=request.args is None), int(str(at_once)) if at_once else None


def longest_context(answer: Answer, at_once: int) -> int:
    """The longest context that ``at_once`` requests can have at the same time, in tokens."""
    longest = (answer.kv_tokens or 0) // at_once
    return min(longest, answer.max_model_len or longest)
