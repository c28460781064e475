from __future__ import annotations

from pathlib import Path

import pytest

from fleet.resources import SysctlMinimums
from tests.local_host import LocalHost


@pytest.fixture
def sysctl(host: LocalHost) -> SysctlMinimums:
    for name, value in {"vm/max_map_count": 65530, "net/core/somaxconn": 8192}.items():
        file = host.path / "proc" / name
        file.parent.mkdir(parents=True)
        file.write_text(f"{value}\n")
    values = {"vm.max_map_count": 262144, "net.core.somaxconn": 4096, "not.there": 1}
    return SysctlMinimums(values, str(host.path / "60.conf"), str(host.path / "proc"))


def test_what_is_too_small_is_raised_and_kept_and_what_is_larger_stays(host: LocalHost, sysctl: SysctlMinimums) -> None:
    change = host.settle(sysctl)
    assert change
    assert change.diff.splitlines()[0] == "vm.max_map_count: 65530 → 262144"
    assert (host.path / "proc/vm/max_map_count").read_text() == "262144\n"
    assert (host.path / "proc/net/core/somaxconn").read_text() == "8192\n"
    assert "net.core.somaxconn = 4096" in Path(sysctl.path).read_text()


def test_a_value_lowered_since_is_found(host: LocalHost, sysctl: SysctlMinimums) -> None:
    host.settle(sysctl)
    (host.path / "proc/vm/max_map_count").write_text("1\n")
    change = host.settle(sysctl)
    assert change
    assert change.diff == "vm.max_map_count: 1 → 262144"
