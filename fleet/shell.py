"""Words for a POSIX shell: the one place that quotes, and the few scripts that everything else is built from.

What runs on a host is plain ``sh`` (dash, busybox, bash as sh) with coreutils; nothing else is assumed there.
"""

from __future__ import annotations

import shlex
from typing import Final

#: Stands before every script: one language, one path, no file that others may read by accident.
PREAMBLE: Final = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; umask 077"


def quote(text: str) -> str:
    """``text`` as one shell word. NUL can't be part of a command and is refused."""
    if "\0" in text:
        msg = "a shell word can't hold a NUL character"
        raise ValueError(msg)
    return shlex.quote(text)


def words(*parts: str) -> str:
    """A command line of these words, each quoted."""
    return " ".join(quote(part) for part in parts)


def write_file(path: str, *, mode: int = 0o644, owner: str = "root", group: str = "root", check: str = "") -> str:
    """A script that writes its standard input to ``path``, whole or not at all.

    The new file lies in a directory of its own beside it, under its own name (some checkers look at that), gets owner
    and mode before its content, is checked by the command ``check`` (``{}`` is its path), synced, and renamed over
    the old one, which stays as ``PATH.fleet-old`` when it differs (for going back). A reader sees the old bytes or the
    new ones. Where the variable ``stdin_size`` is set, an input of another length is refused: a connection that breaks
    looks like the input's end. Missing parents are made with mode 0755; what a killed run left beside is cleared away.
    """
    target = quote(path)
    checked = "\n" + check.replace("{}", '"$n"') + " 1>&2" if check else ""
    return f"""set -e
t={target}; d=$(dirname "$t")
if [ -d "$t" ] && [ ! -L "$t" ]; then echo "$t is a directory, a file must be there: move it away" >&2; exit 1; fi
( umask 022; mkdir -p "$d" ); rm -rf "$d"/.fleet-new-??????
w=$(mktemp -d "$d/.fleet-new-XXXXXX"); n="$w/$(basename "$t")"
trap 'rm -rf "$w"' EXIT
: > "$n"; chown {quote(f"{owner}:{group}")} "$n"; chmod {mode:04o} "$n"
cat > "$n"
[ -z "${{stdin_size:-}}" ] || [ "$(wc -c < "$n")" -eq "$stdin_size" ] || {{
  echo "the content of $t was cut off on its way" >&2; exit 1
}}{checked}
sync "$n" 2>/dev/null || sync
if [ -f "$t" ] && ! cmp -s "$t" "$n"; then ln -f "$t" "$t.fleet-old" 2>/dev/null || cp -p "$t" "$t.fleet-old"; fi
mv -f "$n" "$t"
sync "$d" 2>/dev/null || sync"""
