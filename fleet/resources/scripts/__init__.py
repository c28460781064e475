"""The longer scripts of long work, as files: they run on hosts, by ``sh`` or by the image's python3."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fleet.shell import quote

_HERE: Final = Path(__file__).parent


def text(name: str) -> str:
    """The file's text."""
    return (_HERE / name).read_text(encoding="utf-8")


def shell(name: str, /, *arguments: str, **variables: str | int) -> str:
    """A script of this directory, told its ``variables`` and positional ``arguments``."""
    told = "".join(f"{key}={quote(str(value))}\n" for key, value in variables.items())
    words = " ".join(map(quote, arguments))
    return f'export LC_ALL=C; umask 077; set -eu; cd "$JOB"\n{told}set -- {words}\n{text(name)}'
