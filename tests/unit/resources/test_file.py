from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.resource import Observation, Run
from fleet.resources import File
from fleet.secret import Secret
from tests.local_host import LocalHost, Me


def test_a_missing_file_is_created_with_its_parents(host: LocalHost, me: Me) -> None:
    path = host.path / "etc" / "fleet" / "it's here.conf"
    change = host.settle(File(str(path), "a = 1\n", 0o640, **me))
    assert change
    assert change.kind == "create"
    assert "+a = 1" in change.diff
    assert path.read_text() == "a = 1\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o755


def test_a_changed_file_is_shown_as_a_diff_and_its_old_version_kept(host: LocalHost, me: Me) -> None:
    path = host.path / "f"
    path.write_text("one\ntwo\n")
    change = host.settle(File(str(path), "one\n2\n", **me))
    assert change
    assert change.diff.splitlines()[2:] == ["@@ -1,2 +1,2 @@", " one", "-two", "+2"]
    assert (host.path / "f.fleet-old").read_text() == "one\ntwo\n"


def test_a_wrong_mode_is_mended_without_touching_the_content(host: LocalHost, me: Me) -> None:
    path = host.path / "f"
    path.write_text("same")
    path.chmod(0o666)
    before = path.stat()
    change = host.settle(File(str(path), "same", 0o600, **me))
    assert change
    assert (change.kind, change.why) == ("mode", "mode 0666 → 0600")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_check_that_fails_leaves_the_old_file_and_no_rubbish(host: LocalHost, me: Me) -> None:
    path = host.path / "f.conf"
    path.write_text("good")
    reply = host.apply(File(str(path), "bad", check="grep good {} || { basename {}; exit 3; }", **me))
    assert reply.status == 3
    assert reply.stderr.strip() == "f.conf", "the checker sees the file under its own name"
    assert path.read_text() == "good"
    assert sorted(p.name for p in host.path.iterdir()) == ["bin", "f.conf"]


def test_a_secret_is_written_but_never_in_a_script_a_probe_or_a_diff(host: LocalHost, me: Me) -> None:
    path = host.path / "key"
    path.write_text("sk-0ld-hidden")
    file = File(str(path), Secret("sk-n3w-hidden"), 0o600, **me)
    seen = host.see(file)
    change = file.diff(seen)
    steps = file.apply(seen)
    assert change
    assert "hidden" not in change.diff + file.probe() + repr(steps)
    assert "c2stMGxk" not in seen.text, "the old secret stays on the host"
    host.settle(file)
    assert path.read_text() == "sk-n3w-hidden"


def test_a_directory_in_the_way_is_left_alone_and_named(host: LocalHost, me: Me) -> None:
    (host.path / "f").mkdir()
    file = File(str(host.path / "f"), "x", **me)
    change = file.diff(host.see(file))
    reply = host.apply(file)
    assert change
    assert "it is a directory, not a file" in change.why
    assert reply.status == 1
    assert "move it away" in reply.stderr


def test_a_link_in_the_way_is_replaced_and_its_target_stays(host: LocalHost, me: Me) -> None:
    (host.path / "other").write_text("theirs")
    (host.path / "f").symlink_to("other")
    host.settle(File(str(host.path / "f"), "ours", **me))
    assert (host.path / "other").read_text() == "theirs"
    assert not (host.path / "f").is_symlink()


def test_what_a_killed_run_left_beside_is_cleared_away(host: LocalHost, me: Me) -> None:
    (host.path / ".fleet-new-abc123").mkdir()
    host.settle(File(str(host.path / "f"), "x", **me))
    assert not list(host.path.glob(".fleet-new-*"))


def test_killed_at_any_line_and_run_again_it_ends_right(host: LocalHost, me: Me) -> None:
    path = host.path / "f"
    path.write_text("old")
    file = File(str(path), "new", 0o640, **me)
    step = file.apply(host.see(file))[0]
    assert isinstance(step, Run)
    assert isinstance(step.stdin, bytes)
    lines = step.script.splitlines()
    for end in range(len(lines)):
        path.write_text("old")
        host.sh("\n".join([*lines[:end], "kill -9 $$"]), step.stdin)
        assert path.read_text() in ("old", "new"), f"after line {end}"
        host.settle(file)


def test_an_old_content_too_large_to_show_is_said_so(host: LocalHost, me: Me) -> None:
    (host.path / "f").write_text("x" * 200_000)
    file = File(str(host.path / "f"), "y", **me)
    change = file.diff(host.see(file))
    assert change
    assert change.diff == "(the old content is too large to be shown)"


def test_a_probe_that_said_nothing_is_a_change_not_a_crash() -> None:
    assert File("/x/y", "z").diff(Observation("")) is not None


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_an_owner_is_mended(tmp_path: Path) -> None:
    host = LocalHost(tmp_path)
    (tmp_path / "f").write_text("x")
    os.chown(tmp_path / "f", 1, 1)
    change = host.settle(File(str(tmp_path / "f"), "x"))
    assert change
    assert change.why == "owner daemon:daemon → root:root"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(st.characters(exclude_categories=["Cs"]), max_size=200), mode=st.sampled_from([0o600, 0o755]))
def test_any_text_arrives_byte_for_byte(host: LocalHost, me: Me, content: str, mode: int) -> None:
    path = host.path / "any"
    host.settle(File(str(path), content, mode, **me))
    assert path.read_bytes() == content.encode()
