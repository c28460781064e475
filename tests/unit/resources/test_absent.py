from __future__ import annotations

import pytest

from fleet.resources import Absent
from tests.local_host import LocalHost


def test_files_directories_and_links_go_but_not_what_a_link_leads_to(host: LocalHost) -> None:
    (host.path / "target").mkdir()
    (host.path / "target" / "keep").write_text("x")
    (host.path / "link").symlink_to("target")
    (host.path / "tree" / "deep").mkdir(parents=True)
    (host.path / "file").write_text("x")
    for name in ("link", "tree", "file"):
        change = host.settle(Absent(str(host.path / name)))
        assert change
        assert change.kind == "remove"
    assert (host.path / "target" / "keep").exists()


def test_what_others_wrote_can_be_kept_beside(host: LocalHost) -> None:
    (host.path / "old.list").write_text("theirs")
    host.settle(Absent(str(host.path / "old.list"), why="it conflicts", keep=True))
    assert (host.path / "old.list.fleet-old").read_text() == "theirs"


@pytest.mark.parametrize("path", ["/", "/etc", "etc/fleet", "/etc/../etc", ""])
def test_a_path_that_can_only_be_a_slip_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="at least two parts"):
        Absent(path)
