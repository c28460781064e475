"""Mode, owner and group of what lies on disk: asked, compared and mended in one way by all kinds that have them."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.resource import Observation
from fleet.shell import quote


@dataclass(frozen=True)
class Mend:
    """What is wrong with mode and owner, in words, and the script that puts it right (``$p`` is the path)."""

    why: str
    script: str


def ownership_probe(*, follow: bool = False) -> str:
    """Sh that prints ``state`` (absent, file, directory, link, other), ``mode``, ``owner``, ``group`` of ``$p``.

    With ``follow`` a link counts as what it leads to.
    """
    link = "" if follow else 'elif [ -L "$p" ]; then echo state=link; printf "target=%s\\n" "$(readlink "$p")"\n'
    dereference = "L" if follow else ""
    return (
        'if [ ! -e "$p" ] && [ ! -L "$p" ]; then echo state=absent\n'
        f"{link}"
        'elif [ -f "$p" ]; then echo state=file\n'
        'elif [ -d "$p" ]; then echo state=directory\n'
        "else echo state=other; fi\n"
        f'if [ -e "$p" ]; then stat -{dereference}c "mode=%a\nowner=%U\ngroup=%G" "$p"; fi'
    )


def describe(seen: Observation) -> str:
    """What is there instead, in words."""
    state = seen.get("state")
    if state == "link":
        return f"a link to {seen.get('target')}"
    return {"absent": "not there", "file": "a file", "directory": "a directory"}.get(state, "something else")


def mend(seen: Observation, mode: int, owner: str, group: str) -> Mend | None:
    """The difference between what was seen and what must be, or None. Owners come first: chown clears setuid bits."""
    words: list[str] = []
    lines: list[str] = []
    if (seen.get("owner"), seen.get("group")) != (owner, group):
        words.append(f"owner {seen.get('owner')}:{seen.get('group')} → {owner}:{group}")
        lines.append(f'chown {quote(f"{owner}:{group}")} "$p"')
    if words or _octal(seen.get("mode")) != mode:
        if _octal(seen.get("mode")) != mode:
            words.append(f"mode {seen.get('mode', '?').rjust(4, '0')} → {mode:04o}")
        lines.append(f'chmod {mode:04o} "$p"')
    return Mend(", ".join(words), "set -e\n" + "\n".join(lines)) if words else None


def _octal(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        return -1
