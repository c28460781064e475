"""The words of dnf (4) and rpm: what is installed, and a job that installs. RHEL 8 and 9 and their likes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fleet.shell import quote, words

#: Never ask, give up on a silent mirror and try again.
OPTIONS: Final = "-y --setopt=timeout=20 --setopt=retries=3 --setopt=install_weak_deps=False"

#: Where `dnf versionlock` keeps its list, one NEVRA a line, `!` before what is excluded.
LOCKS: Final = "/etc/dnf/plugins/versionlock.list"


def probe(names: Sequence[str]) -> str:
    """Sh that prints ``pN=installed VERSION-RELEASE`` (the newest where several are) and ``hN=yes`` where locked."""
    lines = []
    for index, name in enumerate(names):
        lines.append(
            f"v=$(rpm -q --qf '%{{VERSION}}-%{{RELEASE}}\\n' {quote(name)} 2>/dev/null) &&"
            f' echo "p{index}=installed $(echo "$v" | sort -V | tail -n1)" || echo p{index}=absent\n'
            f"grep -qE {quote(f'^{_pattern(name)}-[0-9]+:')} {LOCKS} 2>/dev/null && echo h{index}=yes"
        )
    return "\n".join([*lines, ":"])


def install(names: Sequence[str], *, hold: bool, may_remove: bool) -> str:
    """A job's script: install (dnf itself waits for another dnf), and lock the versions.

    A version that is asked for by name goes past the locks of an earlier one.
    """
    plain = words(*(name.partition("=")[0] for name in names))
    wanted = words(*(name.replace("=", "-", 1) for name in names))
    flags = " --allowerasing" if may_remove else ""
    if hold or any("=" in name for name in names):
        flags += " --disableplugin=versionlock"
    lock = f"dnf -q versionlock delete {plain} >/dev/null 2>&1\ndnf {OPTIONS} versionlock add {plain}" if hold else ":"
    return f"""echo "progress: installing {len(names)} packages by dnf"
dnf {OPTIONS} install{flags} {wanted} || exit 1
{lock}"""


def _pattern(name: str) -> str:
    return "".join(f"\\{c}" if c in ".+" else c for c in name)
