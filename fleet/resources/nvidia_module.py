"""NVIDIA's kernel module: loaded, and of the version that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.resource import KNOWN_AFTER_APPLY, Change, Job, Observation, Reboot, Run, Step
from fleet.resources.guard import RUNNING_CONTAINERS, Guard

#: Programs at work on the GPUs, or containers that may be.
GPU_IN_USE: Final = (
    f"{RUNNING_CONTAINERS}; timeout 20 nvidia-smi --query-compute-apps=process_name --format=csv,noheader"
    " | grep -v -e '^No ' -e Failed -e NVML"
)
#: What stops when the host starts anew.
HOST: Final = Guard(("host",), GPU_IN_USE)
#: What a change of an installed driver would break: whatever uses the loaded module finds other libraries beside it.
DRIVER: Final = Guard(("driver",), f"lsmod | grep -q '^nvidia ' && {{ {GPU_IN_USE}; }}")

_VERSION: Final = r"awk '/^NVRM/ {for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9.]+$/) {print $i; exit}}'"


@dataclass(frozen=True)
class NvidiaModule:
    """The module is loaded in the version that lies on disk, nouveau isn't, and nvidia-smi answers.

    Where nouveau holds a GPU, or an older module is loaded than is installed, only a reboot helps; it is done when
    ``may_reboot`` says so, else it is asked for in words. It waits for a rollout while anything runs on the GPUs.
    """

    may_reboot: bool

    @property
    def id(self) -> str:
        """``module:nvidia``."""
        return "module:nvidia"

    def probe(self) -> str:
        """Versions loaded and on disk, nouveau and its users, whether nvidia-smi answers, and what runs."""
        return f"""printf 'loaded=%s\\n' "$(lsmod | awk '$1 == "nvidia" {{print "yes"}}')"
printf 'version=%s\\n' "$({_VERSION} /proc/driver/nvidia/version 2>/dev/null)"
printf 'disk=%s\\n' "$(timeout 20 modinfo -F version nvidia 2>/dev/null | head -n1)"
printf 'nouveau=%s\\n' "$(lsmod | awk '$1 == "nouveau" {{print $3}}')"
timeout 20 nvidia-smi --query-gpu=driver_version --format=csv,noheader >/dev/null 2>&1 && echo smi=yes
{HOST.probe()}"""

    def diff(self, seen: Observation) -> Change | None:
        """Load it, or start the host anew."""
        if not seen.get("disk") and seen.get("loaded") != "yes":
            return Change(self.id, "start", f"no module for this kernel on disk yet: {KNOWN_AFTER_APPLY}")
        reason = _reboot_reason(seen)
        if reason:
            asked = "" if self.may_reboot else "; driver.reboot is 'never', so reboot it by hand or allow it"
            return Change(self.id, "reboot", reason + asked, interrupts=HOST.interrupts(seen))
        if seen.get("loaded") != "yes":
            return Change(self.id, "start", f"the module {seen.get('disk')} isn't loaded")
        if seen.get("smi") != "yes":
            return Change(self.id, "start", "the module is loaded, but nvidia-smi doesn't answer")
        return None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Build it where DKMS hasn't, load it, or reboot."""
        reason = _reboot_reason(seen)
        if reason and not self.may_reboot:
            words = f"{reason}. Reboot the host, or set driver.reboot to when-needed"
            return [Run(f"echo '{words}' >&2; exit 1", what="reboot")]
        if reason:
            return [Reboot(f"reboot: {reason}")]
        steps: list[Step] = [] if seen.get("disk") else [_BUILD]
        return [*steps, _LOAD]


def _reboot_reason(seen: Observation) -> str:
    """Why only a reboot helps, or nothing. nouveau that nobody uses can be unloaded."""
    nouveau, loaded, disk = seen.get("nouveau"), seen.get("version"), seen.get("disk")
    if nouveau and nouveau != "0":
        return "nouveau holds a GPU"
    if loaded and disk and loaded != disk:
        return f"the module {loaded} is loaded, {disk} is installed"
    return ""


_BUILD: Final = Job(
    "nvidia-dkms",
    """set -e
k=$(uname -r)
command -v dkms >/dev/null || { echo "no nvidia module for kernel $k, and no dkms to build one" >&2; exit 1; }
[ -e "/lib/modules/$k/build" ] || { echo "no headers for kernel $k: install them, or boot a kernel that has them" >&2
  exit 1; }
echo "progress: building the nvidia module for $k"
dkms autoinstall -k "$k" || { tail -n 20 /var/lib/dkms/nvidia*/*/build/make.log >&2; exit 1; }
modinfo -F version nvidia""",
    what="build the nvidia module",
    timeout=3600,
)
_LOAD: Final = Run(
    """if lsmod | grep -q '^nouveau '; then modprobe -r nouveau; fi
modprobe nvidia && modprobe nvidia-uvm || { dmesg 2>/dev/null | grep -i -e nvidia -e nvrm | tail -n 8 >&2; exit 1; }
timeout 60 nvidia-smi >/dev/null || { nvidia-smi >&2; exit 1; }""",
    what="load the nvidia module",
)
