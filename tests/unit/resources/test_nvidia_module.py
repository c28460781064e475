from __future__ import annotations

import pytest

from fleet.resource import Job, Observation, Reboot, Run
from fleet.resources import NvidiaModule
from tests.local_host import LocalHost

MODULE = NvidiaModule(may_reboot=True)
WELL = "loaded=yes\nversion=580.95.05\ndisk=580.95.05\nnouveau=\nsmi=yes\nbusy="


def seen(**other: str) -> Observation:
    fields = dict(line.split("=", 1) for line in WELL.splitlines()) | other
    return Observation("\n".join(f"{key}={value}" for key, value in fields.items()))


def test_a_module_that_is_loaded_in_the_installed_version_needs_nothing() -> None:
    assert MODULE.diff(seen()) is None


@pytest.mark.parametrize(
    ("other", "kind", "why"),
    [
        ({"loaded": "", "version": "", "disk": "", "smi": ""}, "start", "known after apply"),
        ({"loaded": "", "version": "", "smi": ""}, "start", "580.95.05 isn't loaded"),
        ({"smi": ""}, "start", "nvidia-smi doesn't answer"),
        ({"version": "570.124.06"}, "reboot", "570.124.06 is loaded, 580.95.05 is installed"),
        ({"loaded": "", "nouveau": "1"}, "reboot", "nouveau holds a GPU"),
        ({"loaded": "", "nouveau": "0"}, "start", "isn't loaded"),
    ],
)
def test_each_state_has_its_words(other: dict[str, str], kind: str, why: str) -> None:
    change = MODULE.diff(seen(**other))
    assert change
    assert change.kind == kind
    assert why in change.why


def test_a_reboot_interrupts_the_host_only_while_something_runs_there() -> None:
    old = {"version": "570.124.06"}
    idle, busy = MODULE.diff(seen(**old)), MODULE.diff(seen(**old, busy="qwen "))
    assert idle
    assert busy
    assert (idle.interrupts, busy.interrupts) == ((), ("host",))


def test_it_reboots_where_that_is_allowed_and_says_so_where_it_is_not() -> None:
    old = seen(version="570.124.06")
    assert isinstance(MODULE.apply(old)[0], Reboot)
    forbidden = NvidiaModule(may_reboot=False)
    change = forbidden.diff(old)
    step = forbidden.apply(old)[0]
    assert change
    assert "driver.reboot is 'never'" in change.why
    assert isinstance(step, Run)
    assert "exit 1" in step.script


def test_a_module_that_dkms_has_not_built_is_built_first() -> None:
    steps = NvidiaModule(may_reboot=False).apply(seen(loaded="", version="", disk="", smi=""))
    assert isinstance(steps[0], Job)
    assert "dkms autoinstall" in steps[0].script


def test_it_is_loaded_and_an_unused_nouveau_goes_first(host: LocalHost) -> None:
    host.program("lsmod", 'cat $0.list 2>/dev/null; [ -e $0.list ] || echo "nouveau 1000 0"')
    host.program("modinfo", "echo 580.95.05")
    host.program("modprobe", f'[ "$1" = -r ] || echo "nvidia 1000 0" > {host.bin}/lsmod.list')
    host.program("nvidia-smi", "echo 580.95.05")
    host.program("docker", "")
    host.settle(MODULE)
    assert [call for call in host.calls if call.startswith("modprobe")] == [
        "modprobe -r nouveau", "modprobe nvidia", "modprobe nvidia-uvm",
    ]  # fmt: skip


def test_what_runs_on_the_gpus_is_seen_by_name(host: LocalHost) -> None:
    for name, said in {
        "docker": "qwen",
        "nvidia-smi": "/usr/bin/python3",
        "lsmod": "nvidia 1 1",
        "modinfo": "1",
    }.items():
        host.program(name, f"echo '{said}'")
    assert host.see(MODULE).get("busy").split() == ["/usr/bin/python3", "qwen"]
    host.program("nvidia-smi", "echo 'No running processes found'")
    host.program("docker", "exit 1")
    assert host.see(MODULE).get("busy").strip() == ""
