"""An instance that runs and answers; and one that left the inventory and is to be gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.resource import KNOWN_AFTER_APPLY, Change, Observation, Run, Step, Wait
from fleet.resources.release import CACHES, INSTANCES, UNITS, unit_name
from fleet.shell import quote

#: A host's own note that a rollout is at work there.
MARKER: Final = "/var/lib/fleet/rollout.json"
#: Before the name of an instance whose releases are laid aside: neither facts nor releases see a hidden directory.
_ASIDE: Final = ".removed-"


@dataclass(frozen=True)
class Serving:
    """The instance's unit is enabled and active, its container is of the current release, and it was seen healthy.

    ``patience`` is how long, in seconds, it may take until it answers. What is current is the host's own link: while a
    new release waits for its rollout, the old one is what must serve.
    """

    instance: str
    patience: float = 1800.0
    root: str = INSTANCES

    @property
    def id(self) -> str:
        """``serving:INSTANCE``."""
        return f"serving:{self.instance}"

    @property
    def follows(self) -> tuple[str, ...]:
        """A switch to another release means a start of it."""
        return (f"current:{self.instance}",)

    def probe(self) -> str:
        """The unit's state, the release that runs, the current and the good one."""
        name = unit_name(self.instance).removesuffix(".service")
        return f"""b={quote(f"{self.root}/{self.instance}")}
systemctl show {name}.service -p LoadState -p ActiveState -p UnitFileState 2>/dev/null
for k in current good; do l=$(readlink "$b/$k" 2>/dev/null); echo "$k=${{l##*/}}"; done
r=$(timeout 20 docker inspect --format '{{{{.State.Running}}}} {{{{index .Config.Labels "fleet.release"}}}}' {name} \\
  2>/dev/null) && case $r in "true "*) echo "running=${{r#true }}";; esac"""

    def diff(self, seen: Observation) -> Change | None:
        """Start it, restart it, enable it, or wait until it is healthy."""
        current, running, good = seen.get("current"), seen.get("running"), seen.get("good")
        if not current or seen.get("LoadState") != "loaded":
            return Change(self.id, "start", f"{KNOWN_AFTER_APPLY}: its release comes first")
        if running and running != current:
            stops = (f"instance {self.instance}",) if good else ()
            return Change(self.id, "restart", f"release {running} runs, {current} is current", interrupts=stops)
        if seen.get("ActiveState") not in ("active", "activating", "reloading"):
            return Change(self.id, "start", f"its unit is {seen.get('ActiveState')}")
        if not running:  # between two tries of systemd's, or its container was taken away
            return Change(self.id, "start", f"its container doesn't run (its unit is {seen.get('ActiveState')})")
        if seen.get("UnitFileState") != "enabled":
            return Change(self.id, "enable", f"its unit is {seen.get('UnitFileState') or 'unknown'} at boot")
        if good != current:
            return Change(self.id, "verify", f"release {current} has not been seen healthy yet")
        return None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Start or restart the unit, wait until it serves, and remember its release as good."""
        # Without its container a unit may be between two tries of an older release: a restart begins anew.
        verb = "start" if seen.get("running") == seen.get("current") else "restart"
        return serve_steps(self.instance, verb, patience=self.patience, root=self.root)


def serve_steps(instance: str, verb: str, *, patience: float = 1800.0, root: str = INSTANCES) -> list[Step]:
    """``verb`` (start, restart) the instance's unit, wait until it is healthy, remember its release as good.

    Health is asked for by the release's own script: what an older release must answer is told by itself.
    """
    unit, base = unit_name(instance), quote(f"{root}/{instance}")
    forget = f"systemctl reset-failed {unit} 2>/dev/null || true\n" if verb == "restart" else ""  # its count of tries
    start = f"""set -e
systemctl enable --quiet {unit}
{forget}timeout 300 systemctl {verb} {unit} || {{ journalctl -u {unit} -n 20 --no-pager -o cat >&2; exit 1; }}"""
    remember = f"""cd {base} && ln -sfn "$(readlink current)" .good.new && mv -fT .good.new good"""
    return [
        Run(start, timeout=330, what=f"{verb} {unit}"),
        Wait(f"exec {base}/current/health", f"instance {instance} answers", timeout=patience),
        Run(remember, what=f"remember the good release of {instance}"),
    ]


@dataclass(frozen=True)
class Removed:
    """An instance of ours that left the inventory: its unit, container and releases go; models and images stay.

    While a rollout is at work on the host its releases are only laid aside: should another instance fail its gates,
    the host goes back to them (:func:`lay_back`). Once the turn is over, :func:`forget` takes them away.
    """

    instance: str
    root: str = INSTANCES
    units: str = UNITS
    caches: str = CACHES
    marker: str = MARKER

    @property
    def id(self) -> str:
        """``removed:INSTANCE``."""
        return f"removed:{self.instance}"

    def probe(self) -> str:
        """What is left of it, and whether it runs."""
        return f"""[ -e {quote(f"{self.root}/{self.instance}")} ] && echo there=yes
grep -qs '^X-Fleet-Instance={self.instance}$' {quote(f"{self.units}/{unit_name(self.instance)}")} && echo unit=ours
{self._container} | grep -q . && echo running=yes; :"""

    def diff(self, seen: Observation) -> Change | None:
        """Remove it; what serves waits for a rollout."""
        if not any(seen.get(key) for key in ("there", "unit", "running")):
            return None
        stops = (f"instance {self.instance}",) if seen.get("running") else ()
        return Change(self.id, "remove", "it is no longer in the inventory", interrupts=stops)

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Stop it, then take away what bears our mark."""
        unit = unit_name(self.instance)
        script = f"""set -e; u={quote(f"{self.units}/{unit}")}
if grep -qs '^X-Fleet-Instance={self.instance}$' "$u"; then
  timeout 240 systemctl disable --now --quiet {unit}; rm -f "$u" "$u.fleet-old"; systemctl daemon-reload
  systemctl reset-failed {unit} 2>/dev/null || true
fi
for c in $({self._container}); do timeout 120 docker rm --force "$c" >/dev/null; done
d={quote(f"{self.root}/{self.instance}")}; aside={quote(f"{self.root}/{_ASIDE}{self.instance}")}
if [ ! -e {quote(self.marker)} ]; then rm -rf "$d" {quote(f"{self.caches}/{self.instance}")}
elif [ -e "$d" ]; then rm -rf "$aside"; mv -f "$d" "$aside"; fi"""
        return [Run(script, timeout=420, what=f"remove instance {self.instance}")]

    @property
    def _container(self) -> str:
        return f"timeout 20 docker ps --all --quiet --filter label=fleet.instance={self.instance} 2>/dev/null"


def lay_back(instance: str, *, root: str = INSTANCES) -> Run:
    """Bring the releases of an instance back that :class:`Removed` laid aside; nothing where it didn't."""
    place, aside = quote(f"{root}/{instance}"), quote(f"{root}/{_ASIDE}{instance}")
    return Run(f"[ -e {place} ] || [ ! -e {aside} ] || mv -f {aside} {place}", what=f"lay {instance} back")


def forget(*, root: str = INSTANCES, caches: str = CACHES) -> Run:
    """Take away what :class:`Removed` laid aside on this host: nothing goes back to it any more."""
    script = f"""cd {quote(root)} 2>/dev/null || exit 0
for d in {_ASIDE}*; do
  [ -d "$d" ] || continue
  i=${{d#{_ASIDE}}}; rm -rf "./$d" && {{ [ -e "./$i" ] || rm -rf {quote(caches)}/"$i"; }}
done"""
    return Run(script, what="forget removed instances")
