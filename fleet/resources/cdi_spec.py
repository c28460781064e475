"""The description of the host's GPUs by which Docker gives them to containers (Container Device Interface)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.resource import KNOWN_AFTER_APPLY, Change, Observation, Run, Step
from fleet.shell import quote

#: A hash of the GPUs, their MIG slices and the driver that are there now; empty where nvidia-smi doesn't answer.
_NOW = """now=$(timeout 60 nvidia-smi -L 2>/dev/null && timeout 60 nvidia-smi --query-gpu=index,uuid,driver_version \\
  --format=csv,noheader 2>/dev/null) && now=$(printf '%s\\n' "$now" | sha256sum | cut -d' ' -f1) || now="""


@dataclass(frozen=True)
class CdiSpec:
    """A CDI file made by ``nvidia-ctk`` for the GPUs and the driver that are there now.

    A driver's libraries are named in it with their version, so that a new driver makes it stale as a new GPU does:
    a comment at its top says what it was made for, and it must name each GPU by its index. A toolkit from 1.18 on keeps
    another one in /var/run/cdi, which wins over this one; it is left to it.
    """

    path: str = "/etc/cdi/nvidia.yaml"

    @property
    def id(self) -> str:
        """``cdi:PATH``."""
        return f"cdi:{self.path}"

    def probe(self) -> str:
        """What is there now, what the file was made for, and which GPUs it doesn't name."""
        return f"""p={quote(self.path)}
{_NOW}
echo "now=$now"; command -v nvidia-ctk >/dev/null && echo tool=yes
if [ -f "$p" ]; then
  printf 'made=%s\\n' "$(sed -n '1s/^# Made by vllm-fleet for //p' "$p")"
  for i in $(timeout 60 nvidia-smi -L 2>/dev/null | sed -n 's/^GPU \\([0-9]*\\):.*/\\1/p'); do
    grep -qE "name: *[\\"']?$i[\\"']?\\$" "$p" || m="$m $i"
  done
  echo "unnamed=${{m# }}"
fi"""

    def diff(self, seen: Observation) -> Change | None:
        """Make it, or make it anew."""
        if not seen.get("now") or seen.get("tool") != "yes":
            missing = "nvidia-smi answers" if seen.get("tool") == "yes" else "the container toolkit is there"
            return Change(self.id, "create", f"{KNOWN_AFTER_APPLY}: when {missing}")
        if "made" not in seen.fields:
            return Change(self.id, "create", "it isn't there")
        if seen.get("made") != seen.get("now"):
            return Change(self.id, "update", "made for other GPUs or another driver than those that are there")
        if seen.get("unnamed"):
            return Change(self.id, "update", f"it doesn't name GPU {seen.get('unnamed').replace(' ', ', ')}")
        return None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Make it beside its place (Docker looks into no directory there), mark it, and put it in place whole."""
        script = f"""set -e
p={quote(self.path)}; d=$(dirname "$p")
( umask 022; mkdir -p "$d" ); rm -rf "$d"/.fleet-new-??????
w=$(mktemp -d "$d/.fleet-new-XXXXXX"); trap 'rm -rf "$w"' EXIT
{_NOW}
[ -n "$now" ] || {{ echo "nvidia-smi doesn't answer" >&2; exit 1; }}
timeout 100 nvidia-ctk cdi generate --output="$w/made.yaml" >&2
{{ echo "# Made by vllm-fleet for $now"; cat "$w/made.yaml"; }} > "$w/whole"
chmod 0644 "$w/whole"; sync "$w/whole" 2>/dev/null || sync
mv -f "$w/whole" "$p\""""
        return [Run(script, timeout=300, what=f"make {self.path}")]
