from __future__ import annotations

from fleet.resources import Directory
from tests.local_host import LocalHost, Me


def test_it_is_made_with_its_mode_and_its_parents_are_open(host: LocalHost, me: Me) -> None:
    path = host.path / "a" / "b"
    change = host.settle(Directory(str(path), 0o700, **me))
    assert change
    assert change.kind == "create"
    assert path.stat().st_mode & 0o7777 == 0o700
    assert path.parent.stat().st_mode & 0o7777 == 0o755


def test_a_wrong_mode_is_mended_and_the_content_stays(host: LocalHost, me: Me) -> None:
    path = host.path / "d"
    path.mkdir()
    path.chmod(0o777)
    (path / "keep").write_text("x")
    change = host.settle(Directory(str(path), 0o750, **me))
    assert change
    assert change.why == "mode 0777 → 0750"
    assert (path / "keep").exists()


def test_a_link_to_a_directory_is_as_good_as_one(host: LocalHost, me: Me) -> None:
    (host.path / "disk2").mkdir(mode=0o755)
    (host.path / "models").symlink_to("disk2")
    directory = Directory(str(host.path / "models"), **me)
    assert directory.diff(host.see(directory)) is None


def test_a_file_in_the_way_is_left_and_named(host: LocalHost, me: Me) -> None:
    (host.path / "d").write_text("precious")
    reply = host.apply(Directory(str(host.path / "d"), **me))
    assert reply.status == 1
    assert "move it away" in reply.stderr
    assert (host.path / "d").read_text() == "precious"
