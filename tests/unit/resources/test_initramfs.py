from __future__ import annotations

import pytest

from fleet.resource import Observation
from fleet.resources import Initramfs
from tests.local_host import LocalHost


@pytest.fixture
def initramfs(host: LocalHost) -> Initramfs:
    (host.path / "blacklist.conf").write_text("blacklist nouveau\n")
    return Initramfs((str(host.path / "blacklist.conf"),), str(host.path / "state" / "initramfs"))


@pytest.mark.parametrize("tool", ["update-initramfs", "dracut"])
def test_it_is_built_once_and_again_when_what_goes_in_changed(host: LocalHost, initramfs: Initramfs, tool: str) -> None:
    host.program(tool, "")
    host.settle(initramfs)
    assert initramfs.diff(host.see(initramfs)) is None
    (host.path / "blacklist.conf").write_text("blacklist nouveau\noptions nouveau modeset=0\n")
    host.settle(initramfs)
    assert len([call for call in host.calls if call.startswith(tool)]) == 2


def test_a_build_that_fails_is_not_noted_as_done(host: LocalHost, initramfs: Initramfs) -> None:
    host.program("update-initramfs", "echo 'No space left on device' >&2; exit 1")
    assert host.apply(initramfs).status == 1
    assert initramfs.diff(host.see(initramfs)) is not None


def test_a_host_without_a_tool_for_it_has_none_to_build(initramfs: Initramfs) -> None:
    assert initramfs.diff(Observation("")) is None
