"""The words of apt and dpkg: what is installed, and a job that installs. Debian and Ubuntu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fleet.shell import quote, words

#: Never ask, keep the admin's configuration files, give up on a silent mirror and try again.
OPTIONS: Final = (
    "-o DPkg::Lock::Timeout=900 -o Acquire::Retries=3 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20"
    " -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)

#: Functions that every apt job starts with. `told` runs apt-get and turns its status lines into progress; `busy` waits
#: for those who hold apt's locks (cloud-init, unattended upgrades, somebody at a terminal), which are fcntl locks: the
#: kernel lists them by inode; `lists` reads the package lists anew, unless that was done lately and no source is newer.
FUNCTIONS: Final = f"""export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none
stamp=/run/fleet-apt-lists
told() {{
  rm -f "$JOB/failed"
  {{ apt-get {OPTIONS} -o APT::Status-Fd=3 "$@" 3>&1 1>&2 || echo $? > "$JOB/failed"; }} |
    while IFS=: read -r kind name part what; do
      case $kind in dlstatus|pmstatus)
        now="${{part%%.*}}% $what"
        if [ "$now" != "$last" ]; then last=$now; echo "progress: $now"; fi;;
      esac
    done
  [ ! -e "$JOB/failed" ]
}}
busy() {{
  n=0
  for f in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock; do
    while [ -e "$f" ] && l=$(grep -m1 ":$(stat -c %i "$f") " /proc/locks); do
      p=$(echo "$l" | awk '{{print $5}}'); by=$(cat "/proc/$p/comm" 2>/dev/null || echo somebody)
      n=$((n + 1)); [ $n -le 450 ] || return 0 # apt will say it in its own words
      echo "progress: waiting for $by (process $p), which holds $f"; sleep 2
    done
  done
}}
lists() {{
  if [ "${{1:-}}" != anew ] && [ -n "$(find $stamp -mmin -10 2>/dev/null)" ] &&
    [ -z "$(find /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/keyrings -newer $stamp 2>/dev/null)" ]
  then return 0; fi
  echo "progress: reading the package lists"; busy
  touch $stamp.new
  if told -o APT::Update::Error-Mode=any update; then mv $stamp.new $stamp; else
    rm -f $stamp.new; echo "some package lists could not be read; going on with those that could" >&2; fi
}}
"""


def probe(names: Sequence[str]) -> str:
    """Sh that prints ``pN=STATE VERSION`` and ``hN=yes`` (held) for each name; STATE is dpkg's own word."""
    lines = ["held=$(apt-mark showhold 2>/dev/null)"]
    for index, name in enumerate(names):
        lines.append(
            f"v=$(dpkg-query -W -f '${{db:Status-Status}} ${{Version}}\\n' {quote(name)} 2>/dev/null | head -n1)\n"
            f'case $v in ""|"not-installed "*|"config-files "*) v=absent;; esac\n'
            f'echo "p{index}=$v"\n'
            f'printf "%s\\n" "$held" | grep -qxF {quote(name)} && echo h{index}=yes'
        )
    return "\n".join([*lines, ":"])


def install(names: Sequence[str], *, hold: bool, may_remove: bool) -> str:
    """A job's script: finish what a killed dpkg left, read the lists, install, and hold."""
    flags = "-y --no-install-recommends --allow-downgrades --allow-change-held-packages --ignore-hold"
    if not may_remove:
        flags += " --no-remove"
    return f"""{FUNCTIONS}busy
[ -z "$(dpkg --audit 2>/dev/null)" ] || {{ echo "progress: finishing what an earlier dpkg left"
  dpkg --force-confdef --force-confold --configure -a; told -f install {flags}; }}
go() {{ busy; told install {flags} {words(*names)}; }}
lists
go || {{ lists anew; go; }} || exit 1
{"apt-mark hold " + words(*(name.partition("=")[0] for name in names)) if hold else ":"}"""
