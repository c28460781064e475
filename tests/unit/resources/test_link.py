from __future__ import annotations

from fleet.resources import Link
from tests.local_host import LocalHost


def test_it_is_made_and_then_leads_elsewhere(host: LocalHost) -> None:
    path = host.path / "current"
    host.settle(Link(str(path), "v1"))
    change = host.settle(Link(str(path), "v2"))
    assert change
    assert change.diff == f"- {path} → v1\n+ {path} → v2"
    assert str(path.readlink()) == "v2"


def test_a_link_to_a_directory_is_switched_not_entered(host: LocalHost) -> None:
    (host.path / "v1").mkdir()
    (host.path / "v2").mkdir()
    (host.path / "current").symlink_to("v1")
    host.settle(Link(str(host.path / "current"), "v2"))
    assert not list((host.path / "v1").iterdir())


def test_a_file_in_its_place_is_kept_beside_and_a_directory_is_never_replaced(host: LocalHost) -> None:
    (host.path / "file").write_text("theirs")
    host.settle(Link(str(host.path / "file"), "x"))
    assert (host.path / "file.fleet-old").read_text() == "theirs"
    (host.path / "dir").mkdir()
    assert host.apply(Link(str(host.path / "dir"), "x")).status == 1
    assert (host.path / "dir").is_dir()
