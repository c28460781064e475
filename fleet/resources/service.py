"""A systemd unit: enabled, running, and running with the inputs that lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.resource import KNOWN_AFTER_APPLY, Change, Observation, Run, Step
from fleet.resources.guard import Guard
from fleet.resources.reload import STILL_GPUS
from fleet.shell import quote, words

#: What `systemctl is-enabled` says of units that start at boot as they must, or that can't be enabled.
_ENABLED = ("enabled", "static", "alias", "indirect", "generated", "linked")


@dataclass(frozen=True)
class Service:
    """A unit's state at boot and now; None leaves one of them alone.

    ``inputs`` are the files it reads when it starts. That it runs with others than those on disk is state, seen anew on
    each run, not an event that a crash can lose: at each start that we cause, the inputs' hash and the unit's
    invocation are noted under ``notes``. A unit that somebody else started since counts as stale only where an input is
    newer than that start. ``guard`` says what a restart would stop; a daemon-reload counts as one (it takes GPUs from
    containers that have them by the hook).
    """

    name: str
    enabled: bool | None = True
    running: bool | None = True
    inputs: tuple[str, ...] = ()
    guard: Guard | None = None
    notes: str = "/var/lib/fleet/services"

    @property
    def id(self) -> str:
        """``service:NAME``."""
        return f"service:{self.name}"

    @property
    def follows(self) -> tuple[str, ...]:
        """What writes its inputs or takes them away, and its unit file: what it needs is known only after them."""
        inputs = tuple(f"{kind}:{path}" for path in self.inputs for kind in ("file", "json", "absent"))
        return (f"file:/etc/systemd/system/{self.name}", *inputs)

    def probe(self) -> str:
        """Load state, enabled, active, whether systemd must read the unit again, and whether it runs stale."""
        guard = f"\n{self.guard.probe()}" if self.guard else ""
        return f"""u={quote(self.name)}
systemctl show "$u" -p LoadState -p ActiveState -p NeedDaemonReload
echo "enabled=$(systemctl is-enabled "$u" 2>/dev/null)"{self._stale_probe()}{guard}"""

    def diff(self, seen: Observation) -> Change | None:
        """Start, restart, stop, enable or disable."""
        if seen.get("LoadState") != "loaded":
            return self._diff_unknown(seen)
        active = seen.get("ActiveState")
        why: list[str] = []
        kind = ""
        if self._must_enable(seen):
            kind = "enable" if self.enabled else "disable"
            why.append(f"it is {seen.get('enabled') or 'unknown'} at boot")
        if self.running and active not in ("active", "reloading"):
            kind = "start"
            why.append(f"it is {active}")
        elif self.running and seen.get("stale") == "yes":
            kind = "restart"
            why.append(f"it runs with other inputs than those on disk ({', '.join(self.inputs)})")
        elif self.running is False and active in ("active", "reloading", "activating"):
            kind = "stop"
            why.append(f"it is {active}")
        elif seen.get("NeedDaemonReload") == "yes":
            kind = kind or "reload"
            why.append("its unit file changed since systemd read it")
        if not kind:
            return None
        harms = self.guard and (kind in ("restart", "stop") or self._must_reload(seen))
        stops = self.guard.interrupts(seen) if self.guard and harms else ()
        return Change(self.id, kind, "; ".join(why), interrupts=stops)

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Let systemd read the unit where it must, then enable, start, restart or stop it."""
        change = self.diff(seen)
        if change is None:
            return []
        lines = ["set -e", f"u={quote(self.name)}"]
        if self._must_enable(seen):
            lines.append(f'systemctl {"enable" if self.enabled else "disable"} "$u"')
        elif self._must_reload(seen):
            lines.append("systemctl daemon-reload")
        restart = change.kind == "restart"
        if restart or (self.running and seen.get("ActiveState") not in ("active", "reloading")):
            lines.append('systemctl reset-failed "$u" 2>/dev/null || :')
            lines.append(self._start("restart" if restart else "start"))
        elif self.running is False and seen.get("ActiveState") != "inactive":
            lines.append('systemctl stop "$u"')
        if self._must_reload(seen):
            lines.append(STILL_GPUS)
        return [Run("\n".join(lines), timeout=300, what=f"{change.kind} {self.name}")]

    def _must_enable(self, seen: Observation) -> bool:
        return self.enabled is not None and (seen.get("enabled") in _ENABLED) != self.enabled

    def _must_reload(self, seen: Observation) -> bool:
        """Whether systemd has to read its units again; `enable` and `disable` make it do so by themselves."""
        unread = seen.get("NeedDaemonReload") == "yes" or seen.get("LoadState") != "loaded"
        return unread or self._must_enable(seen)

    def _diff_unknown(self, seen: Observation) -> Change | None:
        state = seen.get("LoadState") or "unknown"
        if state == "masked":
            return Change(self.id, "start", "it is masked: somebody forbade it (systemctl unmask lets it start)")
        if not self.enabled and not self.running:
            return None
        return Change(self.id, "start", f"there is no such unit yet ({state}): {KNOWN_AFTER_APPLY}")

    def _start(self, verb: str) -> str:
        """Start it, note with what, and on failure say what its journal says."""
        note = ""
        if self.inputs:
            note = f"""
h=$({self._hash()})
( umask 022; mkdir -p {quote(self.notes)} )
printf '%s %s\\n' "$h" "$(systemctl show "$u" -p InvocationID --value)" > {self._note}.new
mv -f {self._note}.new {self._note}"""
        return f"""systemctl {verb} "$u" || {{ journalctl -u "$u" -n 20 --no-pager >&2; exit 1; }}{note}"""

    def _stale_probe(self) -> str:
        if not self.inputs or not self.running:
            return ""
        paths = words(*self.inputs)
        return f"""
if [ "$(systemctl is-active "$u")" = active ]; then
h=$({self._hash()}); o=; i=; read -r o i < {self._note} 2>/dev/null
s=$(TZ=UTC systemctl show "$u" -p ActiveEnterTimestamp --value); s=$(date -u -d "$s" +%s 2>/dev/null || echo 0)
m=$(stat -c %Y {paths} 2>/dev/null | sort -n | tail -n1); m=${{m:-0}}
if [ "$h" = "$o" ]; then echo stale=no
elif [ -n "$i" ] && [ "$i" = "$(systemctl show "$u" -p InvocationID --value)" ]; then echo stale=yes
elif [ "$m" -gt "$s" ]; then echo stale=yes
else echo stale=no; fi
fi"""

    def _hash(self) -> str:
        return f"cat {words(*self.inputs)} 2>/dev/null | sha256sum | cut -d' ' -f1"

    @property
    def _note(self) -> str:
        return quote(f"{self.notes}/{self.name}")
