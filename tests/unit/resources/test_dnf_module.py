from __future__ import annotations

from fleet.resource import Observation
from fleet.resources import DnfModule, Guard
from tests.local_host import LocalHost


def test_the_stream_is_read_from_dnfs_own_record(host: LocalHost) -> None:
    record = host.path / "dnf/modules.d/nvidia-driver.module"
    record.parent.mkdir(parents=True)
    record.write_text("[nvidia-driver]\nname=nvidia-driver\nstream=580-open\nprofiles=\nstate=enabled\n")
    assert DnfModule("nvidia-driver", "580-open", etc=str(host.path)).diff(
        host.see(DnfModule("nvidia-driver", "580-open", etc=str(host.path)))
    ) is None  # fmt: skip
    other = DnfModule("nvidia-driver", "590-open", etc=str(host.path))
    change = other.diff(host.see(other))
    assert change
    assert change.why == "stream 580-open is enabled"


def test_only_a_switch_interrupts_not_the_first_choice() -> None:
    module = DnfModule("nvidia-driver", "590-open", Guard(("driver",), "true"))
    first = module.diff(Observation("busy=qwen"))
    switch = module.diff(Observation("stream=580-open\nstate=enabled\nbusy=qwen"))
    assert first
    assert switch
    assert (first.interrupts, switch.interrupts) == ((), ("driver",))
