"""An instance's releases: all that a start of it is made of, staged on disk, and the link to the one that counts.

::

    /etc/fleet/instances/NAME/releases/ID/   fleet-NAME.service, env (0600), before-start, stay, health, release.json
    /etc/fleet/instances/NAME/releases/ID/number   1, 2, 3…: what people call it; it is no part of the id
    /etc/fleet/instances/NAME/last-number    the highest ever given, so that none is given twice
    /etc/fleet/instances/NAME/current        → releases/ID, the one that its unit is
    /etc/fleet/instances/NAME/good           → releases/ID, the last one that was seen healthy
    /etc/fleet/instances/NAME/history.jsonl  one line a switch: when, who, why, from where (fleet/releases.py)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from fleet.resource import Change, Observation, Run, Step
from fleet.resources.file import unified
from fleet.secret import Secret, slow_digest
from fleet.shell import quote

#: Where releases lie, where systemd reads units, and where what servers compile for themselves is kept.
INSTANCES: Final = "/etc/fleet/instances"
UNITS: Final = "/etc/systemd/system"
CACHES: Final = "/var/lib/fleet/cache"
#: Stands for the release's own id in its files until that is known.
RELEASE: Final = "@RELEASE@"
#: Releases kept for going back, beside the current and the good one.
KEPT: Final = 5
_MODES: Final = {"env": 0o600, "before-start": 0o755, "health": 0o755, "stay": 0o755}
#: After systemd has read its units again, each container of ours must still see its GPUs (NVIDIA/nvidia-docker#1730).
_STILL_GPUS: Final = """for c in $(timeout 20 docker ps -q --filter label=fleet.instance 2>/dev/null); do
  timeout 30 docker exec "$c" sh -c 'command -v nvidia-smi >/dev/null || exit 0; nvidia-smi -L >/dev/null 2>&1' || {
    echo "after systemctl daemon-reload container $(docker inspect --format '{{.Name}}' "$c") sees no GPU any more:" \\
      "it must be restarted, and this host wants CDI or cgroupfs (runtime.gpu_access)" >&2; exit 1; }
done"""

#: Numbers the release that is being placed (``$r``), and any that is older than numbers are; each once, the oldest
#: first, one more than any before, also of those that are gone. Run in releases/.new, which ``*`` doesn't see.
_NUMBER: Final = """n=0; for f in ../../last-number ../*/number; do
  [ -f "$f" ] && read -r m < "$f" && case $m in *[!0-9]*|'') ;; *) [ "$m" -le "$n" ] || n=$m;; esac
done
for d in $(ls -1tr ..); do
  if [ ! -s "../$d/number" ] && { [ -f "../$d/$unit" ] || [ "$d" = "${r##*/}" ]; }; then
    n=$((n+1)); echo "$n" > ../../.last-number.new; mv -f ../../.last-number.new ../../last-number
    echo "$n" > "../$d/.number.new"; mv -f "../$d/.number.new" "../$d/number"
  fi
done"""


@dataclass(frozen=True)
class Release:
    """One release of an instance, staged beside the others; nothing that runs is touched.

    ``files`` is name → text, with :data:`RELEASE` where its own id stands; ``env`` is the environment in Docker's form,
    for root only. The id is a hash of all of it: equal releases are one, and any difference makes another. ``notes``
    are said where the release is planned (why it is so), and are no part of it.
    """

    instance: str
    files: Mapping[str, str]
    env: Secret
    root: str = INSTANCES
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """``release:INSTANCE``."""
        return f"release:{self.instance}"

    @cached_property
    def release(self) -> str:
        """The release's id: 12 hexadecimal digits."""
        parts = [f"{name}\0{text}" for name, text in sorted(self.files.items())]
        return hashlib.sha256("\0".join([*parts, slow_digest(self.env.reveal(), "release")]).encode()).hexdigest()[:12]

    @property
    def path(self) -> str:
        """Where it lies."""
        return f"{self.root}/{self.instance}/releases/{self.release}"

    @property
    def unit(self) -> str:
        """The name of the instance's unit."""
        return unit_name(self.instance)

    def content(self, name: str) -> str:
        """A file's text with the id in its place."""
        return self.env.reveal() if name == "env" else self.files[name].replace(RELEASE, self.release)

    def probe(self) -> str:
        """Mode, owner and hash of each file; while it isn't there, the current release's unit to compare with."""
        names = " ".join(map(quote, self._names))
        return f"""b={quote(f"{self.root}/{self.instance}")}; r={quote(self.path)}; i=0
for f in {names}; do
  [ -f "$r/$f" ] && echo "file_$i=$(stat -c '%a %U:%G' "$r/$f") $(sha256sum < "$r/$f" | cut -d' ' -f1)"; i=$((i+1))
done
if [ ! -d "$r" ] && [ -d "$b/current" ]; then
  printf 'old=%s\\n' "$(readlink "$b/current")"
  printf 'unit=%s\\n' "$(base64 -w0 "$b/current/{self.unit}")"
  printf 'env=%s\\n' "$(sha256sum < "$b/current/env" | cut -d' ' -f1)"
fi"""

    def diff(self, seen: Observation) -> Change | None:
        """Create it, with the difference to the current one; or mend its files."""
        wrong = [name for i, name in enumerate(self._names) if seen.get(f"file_{i}") != self._wanted(name)]
        if not wrong:
            return None
        if len(wrong) < len(self._names):
            return Change(self.id, "update", f"release {self.release}: {', '.join(wrong)} not as written")
        old = seen.get("old").rpartition("/")[2]
        unit = (seen.decoded("unit") or "").replace(old or RELEASE, self.release)
        lines = unified(unit, self.content(self.unit), self.unit)
        if old and seen.get("env") != self._sha256("env"):
            lines += "\n(the environment changes; it isn't shown)"
        said = "".join(f"# {note}\n" for note in self.notes)
        why = f"release {self.release}{f', after {old}' if old else ''}"
        return Change(self.id, "create", why, said + lines.strip())

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Write all files beside, let systemd judge the unit, move them into place; forget old releases."""
        new = f"{self.root}/{self.instance}/releases/.new"
        steps = [Run(f"umask 022; rm -rf {quote(new)} && mkdir -p {quote(new)}", what=f"stage {self.id}")]
        for name in self._names:
            script = f"cat > {quote(f'{new}/{name}')} && chmod {_MODES.get(name, 0o644):04o} {quote(f'{new}/{name}')}"
            content = self.content(name)
            steps.append(
                Run(script, stdin=Secret(content) if name == "env" else content.encode(), what=f"write {name}")
            )
        place = f"""set -e; umask 022
cd {quote(new)}; r={quote(self.path)}; unit={self.unit}
mkdir -p "$r"; chmod 0755 "$r"; sync
for f in *; do [ "$f" = {self.unit} ] || mv -f "$f" "$r/$f"; done
if command -v systemd-analyze >/dev/null; then # the unit names the other files: it is judged when they are there
  w=$(timeout 60 systemd-analyze verify "./{self.unit}" 2>&1) || {{ printf '%s\\n' "$w" >&2; exit 1; }}
fi
{_NUMBER}
mv -f {self.unit} "$r/"
cd ..; rmdir .new; sync
keep() {{ [ "$1" = {self.release} ] || [ "$(readlink ../current)" = "releases/$1" ] ||
  [ "$(readlink ../good)" = "releases/$1" ]; }}
ls -1t | tail -n +{KEPT + 1} | while read -r old; do keep "$old" || rm -rf "./$old"; done"""
        return [*steps, Run(place, what=f"place release {self.release} of {self.instance}")]

    @property
    def _names(self) -> list[str]:
        return [*sorted(self.files), "env"]

    def _wanted(self, name: str) -> str:
        return f"{_MODES.get(name, 0o644):o} root:root {self._sha256(name)}"

    def _sha256(self, name: str) -> str:
        return hashlib.sha256(self.content(name).encode()).hexdigest()


@dataclass(frozen=True)
class Current:
    """The release that counts: the ``current`` link, the unit as systemd reads it, and systemd knowing it.

    To switch an instance that serves, or ever did, waits for a rollout; one that never was healthy is switched at once.
    ``behind`` names instances that must go first (their GPUs or port are given to this one); ``reload_harms`` says that
    this host's containers lose their GPUs when systemd reads its units again.
    """

    instance: str
    release: str
    behind: tuple[str, ...] = ()
    reload_harms: bool = False
    root: str = INSTANCES
    units: str = UNITS

    @property
    def id(self) -> str:
        """``current:INSTANCE``."""
        return f"current:{self.instance}"

    def probe(self) -> str:
        """Which release is current and which was good, whether the unit is its, and which instances run."""
        unit = unit_name(self.instance)
        return f"""b={quote(f"{self.root}/{self.instance}")}; u={quote(f"{self.units}/{unit}")}
c=$(readlink "$b/current" 2>/dev/null); g=$(readlink "$b/good" 2>/dev/null)
echo "current=${{c##*/}}"; echo "good=${{g##*/}}"
cmp -s "$b/releases/{self.release}/{unit}" "$u" && [ ! -L "$u" ] && echo unit=same || echo unit=other
systemctl show {unit} -p NeedDaemonReload 2>/dev/null
r=$(timeout 20 docker ps --filter label=fleet.instance --format '{{{{.Label "fleet.instance"}}}}' 2>/dev/null | sort)
echo "running=$(printf %s "$r" | tr '\\n' ' ')"
case " $(printf %s "$r" | tr '\\n' ' ') " in *" {self.instance} "*) [ -n "$g" ] || [ ! -x "$b/current/health" ] ||
  if timeout 30 "$b/current/health" >/dev/null 2>&1; then echo healthy=yes; fi;; esac"""

    def diff(self, seen: Observation) -> Change | None:
        """Switch to the release, or mend the unit on disk."""
        running = seen.get("running").split()
        harmed = [name for name in running if self.reload_harms]
        if seen.get("current") != self.release:
            stops = {*harmed, *(name for name in self.behind if name in running)}
            if seen.get("good") or seen.get("healthy") == "yes":
                stops.add(self.instance)
            old = seen.get("current") or "none"
            why = f"from release {old} to {self.release}"
            diff = f"- releases/{old}\n+ releases/{self.release}"
            return Change(self.id, "switch", why, diff, tuple(f"instance {name}" for name in sorted(stops)))
        if seen.get("unit") != "same" or seen.get("NeedDaemonReload") == "yes":
            stops = {f"instance {name}" for name in harmed}
            return Change(self.id, "update", "the unit isn't its release's", interrupts=tuple(sorted(stops)))
        return None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """One script."""
        return [switch_step(self.instance, self.release, root=self.root, units=self.units)]


def unit_name(instance: str) -> str:
    """The unit of an instance; its container has the same name without ``.service``."""
    return f"fleet-{instance}.service"


def switch_step(instance: str, release: str, *, root: str = INSTANCES, units: str = UNITS) -> Run:
    """Let ``current`` and the unit be those of ``release``; what runs goes on running until it is restarted."""
    base, unit = f"{root}/{instance}", unit_name(instance)
    script = f"""set -e; umask 022
cd {quote(base)}; u={quote(f"{units}/{unit}")}
[ -f releases/{release}/{unit} ] || {{ echo "there is no release {release} of {instance} on this host" >&2; exit 1; }}
ln -sfn releases/{release} .current.new; mv -fT .current.new current
cp releases/{release}/{unit} "$u.fleet-new"; chmod 0644 "$u.fleet-new"; sync; mv -f "$u.fleet-new" "$u"
systemctl daemon-reload
{_STILL_GPUS}"""
    return Run(script, what=f"switch {instance} to release {release}")
