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


def write_file(path: str, *, mode: int = 0o644, owner: str = "root", group: str = "root") -> str:
    """A script that writes its standard input to ``path``, whole or not at all.

    A temporary file beside it gets owner and mode before its content, is synced, and is renamed over the old one,
    which stays as ``PATH.fleet-old`` when it differs (for going back). A reader sees the old bytes or the new ones.
    """
    target = quote(path)
    return f"""set -e
t={target}; d=$(dirname "$t"); n=$(mktemp "$d/.fleet-XXXXXX")
trap 'rm -f "$n"' EXIT
chown {quote(f"{owner}:{group}")} "$n"; chmod {mode:04o} "$n"
cat > "$n"
sync "$n" 2>/dev/null || sync
if [ -f "$t" ] && ! cmp -s "$t" "$n"; then cp -p "$t" "$t.fleet-old"; fi
mv -f "$n" "$t"; trap - EXIT"""
