"""Words for systemd units: the quoting of command lines, which is not the shell's."""

from __future__ import annotations

from collections.abc import Sequence


def exec_line(words: Sequence[str], *, indent: str = "  ") -> str:
    """``words`` as the value of ExecStart=, one option a line; specifiers (``%``) and variables (``$``) stay letters.

    The first word, the program, may not be quoted by systemd's rules, and isn't.
    """
    lines: list[str] = [words[0]]
    for word in words[1:]:
        if word.startswith("-") or len(lines) == 1:
            lines.append(exec_word(word))
        else:
            lines[-1] += " " + exec_word(word)
    return f" \\\n{indent}".join(lines)


def exec_word(word: str) -> str:
    """One word of a command line (systemd.service(5), "COMMAND LINES"; systemd.syntax(7), "QUOTING")."""
    if any(character in word for character in "\n\r\0"):
        msg = f"a word of a unit's command line can't span lines: {word!r}"
        raise ValueError(msg)
    escaped = word.replace("%", "%%").replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    plain = bool(word) and all(c.isalnum() or c in "-_./:=,@+%$" for c in word)
    return escaped if plain else f'"{escaped}"'
