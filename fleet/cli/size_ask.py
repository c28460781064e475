"""From the options of ``size`` to a request, and from answers to what is shown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet import report
from fleet.errors import CatalogError, UsageError
from fleet.sizing import Aim, Gpu, Request, catalog, load_model, words
from fleet.sizing.commandline import parse_words
from fleet.sizing.config import read_json
from fleet.sizing.model import Model
from fleet.sizing.versions import neighbours

#: Exit code by verdict, as CONTRACTS has it.
EXIT = {"runs": 0, "refused": 1, "unknown": 3}


@dataclass(frozen=True)
class Format:
    """How results are shown: one of ``json``, ``csv``, ``markdown``, else words and tables for a person."""

    json: bool = False
    csv: bool = False
    markdown: bool = False

    def rows(self, rows: words.Rows, title: str = "") -> None:
        """Show rows in this format."""
        if self.json:
            report.result_json(rows)
        elif self.csv:
            report.result(words.as_csv(rows))
        elif self.markdown:
            report.result(words.markdown(rows))
        else:
            columns, lines = words.cells(rows)
            report.table(columns, lines, title=title)


def ask(model: str, kind: Gpu, count: int, vllm: str, args: str | None, aim: Aim) -> Request:
    """The request that the options mean. Whatever stands in ``args`` is left to be judged.

    Raises:
        UsageError: a count below 1.
        CatalogError: a model or version that can't be read.
    """
    if count < 1:
        raise UsageError(f"--count {count}: at least one GPU is needed", hint="leave it out for one")
    found, weight_bytes = read(model)
    refused: tuple[str, ...] = ()
    given: Mapping[str, object] | None = None
    if args is not None:
        try:
            split = shlex.split(args)
        except ValueError as error:
            split, refused = [], (f"a shell can't split {args!r}: {error}",)
        parsed = parse_words(vllm, split) if neighbours(vllm).known else None
        given = dict(parsed.args) if parsed else {}
        refused += tuple(finding.words for finding in parsed.findings) if parsed else ()
    neighbours(vllm)  # a version that is none is wrong use, said before anything else
    return Request(found, kind, count, vllm, given, aim=aim, weight_bytes=weight_bytes, refused_words=refused)


def read(model: str) -> tuple[Model | Mapping[str, Any] | str, int | None]:
    """A model by path or catalog name, and the bytes of its weights where they lie beside its config.json."""
    path = Path(model).expanduser()
    if not path.exists() and (model.startswith((".", "/", "~")) or model.endswith(".json")):
        raise CatalogError("there is no such file or directory", where=model, hint="or give a name from the catalog")
    if not path.exists():
        return catalog.find(model).name, None
    folder = path if path.is_dir() else path.parent
    files = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    try:
        return load_model(path), sum(file.stat().st_size for file in files) or None
    except CatalogError as error:
        if type(error) is CatalogError:
            raise
        return read_json(path / "config.json" if path.is_dir() else path), sum(f.stat().st_size for f in files) or None
