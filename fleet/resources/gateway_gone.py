"""A host that is a gateway no longer: what makes it one is taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.resource import Change, Observation, Run, Step
from fleet.resources.gateway import ROOT, TOOL, UNIT
from fleet.shell import words

TIMER: Final = "fleet-gateway-sweep.timer"
SWEEP: Final = "fleet-gateway-sweep.service"
UNITS: Final = tuple(f"/etc/systemd/system/{unit}" for unit in (UNIT, TIMER, SWEEP))
STATE: Final = "/var/lib/fleet/gateway"


@dataclass(frozen=True)
class GatewayGone:
    """No gateway of ours; the packages stay. One that runs may have clients, so its end waits for a rollout."""

    @property
    def id(self) -> str:
        """``gateway:gone``."""
        return "gateway:gone"

    def probe(self) -> str:
        """What is left of it, and whether it runs."""
        return f"""for p in {words(*UNITS, ROOT, STATE, TOOL)}; do [ ! -e "$p" ] || echo there=yes; done
echo "active=$(systemctl is-active {UNIT} 2>/dev/null)\""""

    def diff(self, seen: Observation) -> Change | None:
        """Remove it."""
        if not seen.get("there"):
            return None
        stops = ("the gateway",) if seen.get("active") in ("active", "reloading") else ()
        return Change(self.id, "remove", "this host is no gateway any more", interrupts=stops)

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Stop it, then take its files away."""
        script = f"""set -e
for u in {TIMER} {SWEEP} {UNIT}; do
  [ ! -e /etc/systemd/system/$u ] || timeout 120 systemctl disable --now --quiet $u 2>/dev/null || systemctl stop $u
done
rm -rf {words(*UNITS, ROOT, STATE, TOOL)}
systemctl daemon-reload"""
        return [Run(script, timeout=300, what="remove the gateway")]
