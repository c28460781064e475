"""What people and machines read. The only module that prints: results on stdout, everything else on stderr.

Colours and tables are rich's, and only on a terminal; :data:`secrets` holds the values that no line may show.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleet.errors import FleetError
from fleet.secret import MASK, Secret, mask

#: Plain values of the secrets met in this run; every line that is written is masked by them.
secrets: set[str] = set()


def result(text: str) -> None:
    """One result, for people, on stdout."""
    _write(mask(text, secrets))


def result_json(value: object) -> None:
    """The result for machines: one JSON document on stdout, secrets masked."""
    _write(_masked(json.dumps(value, ensure_ascii=False, indent=2, default=plain)))


def result_jsonl(value: object) -> None:
    """One line of a stream of JSON documents, for verbs that follow something."""
    _write(_masked(json.dumps(value, ensure_ascii=False, default=plain)))


def note(text: str) -> None:
    """Progress, on stderr. Where nobody can read it (a full disk, a reader that died) the work goes on all the same.

    A result, on stdout, is what was asked for: that it can't be written is never passed over.
    """
    with contextlib.suppress(OSError):
        print(mask(text, secrets), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """A warning, on stderr, yellow on a terminal."""
    note(_coloured("33", "warning: ") + text)


def error(text: str) -> None:
    """An error, on stderr, red on a terminal."""
    note(_coloured("31", "error: ") + text)


def heading(text: str) -> None:
    """The title of a step, on stderr, bold on a terminal."""
    note(_coloured("1", text))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table on stdout: rich's on a terminal, aligned plain text into a pipe."""
    cells = [[mask(str(cell), secrets) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console  # imported where it pays: 40 ms that --json and pipes needn't spend
        from rich.markup import escape
        from rich.table import Table

        drawn = Table(*columns, title=title or None, title_justify="left")
        for row in cells:
            drawn.add_row(*(escape(cell) for cell in row))
        Console().print(drawn)
        return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [list(columns), *cells]
    ]
    _write("\n".join([title, *lines] if title else lines))


def plain(value: object) -> Any:
    """What JSON can't hold, as something that it can: secrets masked, mappings, sets and paths as their text."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


def _write(text: str) -> None:
    """On stdout, at once.

    Raises:
        FleetError: it can't be written (a full disk). A reader that has seen enough stays a BrokenPipeError.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        unwritable()
        raise FleetError(
            f"the result can't be written: {error.strerror}", hint="make room where stdout goes; what was done is done"
        ) from error


def unwritable() -> None:
    """Let stdout lead nowhere: Python would try again at its end what couldn't be written, with a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _masked(document: str) -> str:
    """A JSON text with secrets masked, also those that JSON writes with escapes (quotes, line ends)."""
    return mask(document, {form for s in secrets for form in (s, json.dumps(s, ensure_ascii=False)[1:-1])})


def _coloured(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else text
