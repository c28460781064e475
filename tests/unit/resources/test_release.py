from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from fleet.releases import go_back
from fleet.resource import KNOWN_AFTER_APPLY, Observation, Run, Wait
from fleet.resources import Current, Release, Removed, Serving
from fleet.resources.release import RELEASE, switch_step
from fleet.resources.serving import forget, lay_back, serve_steps
from fleet.secret import Secret
from tests.local_host import LocalHost

FAKE = Path(__file__).parents[2] / "fake_systemd.py"
HEALTH = """#!/bin/sh
docker exec --interactive fleet-a x && [ "$(docker inspect --format r fleet-a)" = @RELEASE@ ] && exit 0
[ "$(systemctl is-active fleet-a.service)" != failed ] || { echo 'its last words' >&2; exit 1; }
exit 75
"""


class Host(LocalHost):
    """A host with one instance, ``a``, below the test's directory."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.root, self.units = str(path / "instances"), str(path / "units")
        Path(self.units).mkdir()
        for name in ("systemctl", "docker"):
            self.program(name, f'exec {sys.executable} -I -S {FAKE} {name} "$@"')
        self.program("systemd-analyze", "exit 0")
        self.program("journalctl", "echo 'its last words'")

    def release(self, arguments: str = "--port 8000", env: str = "VLLM_API_KEY=k3y\n") -> Release:
        start = f"ExecStart=/bin/docker --label=fleet.release={RELEASE} {arguments}"
        unit = f"[Unit]\nX-Fleet-Instance=a\n[Service]\n{start}\n"
        files = {"fleet-a.service": unit, "before-start": "#!/bin/sh\n", "health": HEALTH, "release.json": "{}\n"}
        return Release("a", files, Secret(env), self.root)

    def current(self, release: Release, **more: object) -> Current:
        return Current("a", release.release, root=self.root, units=self.units, **more)  # type: ignore[arg-type]  # as told

    @property
    def serving(self) -> Serving:
        return Serving("a", root=self.root)

    def bring(self, release: Release) -> None:
        """A first start, from nothing to healthy."""
        self.settle(release)
        self.settle(self.current(release))
        self.settle(self.serving)

    @property
    def containers(self) -> dict[str, str]:
        return dict(json.loads((self.path / "state.json").read_text())["containers"])

    def link(self, name: str) -> str:
        return str(Path(self.root, "a", name).readlink())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    if os.getuid() != 0:
        pytest.skip("releases belong to root")
    monkeypatch.setenv("FAKE", str(tmp_path))
    return Host(tmp_path)


def test_a_release_is_staged_whole_and_nothing_else_is_touched(host: Host) -> None:
    release = host.release()
    change = host.settle(release)
    assert change
    assert (change.kind, change.interrupts) == ("create", ())
    assert "+ExecStart=/bin/docker --label=fleet.release=" + release.release in change.diff
    assert (Path(release.path) / "env").read_text() == "VLLM_API_KEY=k3y\n"
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in Path(release.path).iterdir()}
    assert modes == {"fleet-a.service": "0o644", "before-start": "0o755", "health": "0o755", "release.json": "0o644",
                     "env": "0o600", "number": "0o644"}  # fmt: skip
    assert not Path(host.units, "fleet-a.service").exists()
    assert sorted(p.name for p in Path(host.root, "a").iterdir()) == ["last-number", "releases"]


def test_any_difference_makes_another_release_and_a_secret_is_one() -> None:
    def made(text: str, env: str) -> str:
        return Release("a", {"u": text}, Secret(env)).release

    assert made("x", "K=1") == made("x", "K=1")
    assert len({made("x", "K=1"), made("y", "K=1"), made("x", "K=2")}) == 3


def test_the_plan_shows_what_differs_from_the_current_release_and_no_secret(host: Host) -> None:
    host.bring(host.release())
    release = host.release("--port 8001", "VLLM_API_KEY=n3w\n")
    change = release.diff(host.see(release))
    assert change
    lines = [line for line in change.diff.splitlines() if line[0] in "+-(" and line[:3] not in ("+++", "---")]
    assert [line[0] for line in lines] == ["-", "+", "("]
    assert lines[1].endswith("--port 8001")
    assert "n3w" not in repr(change)
    assert "n3w" not in repr(release)


def test_a_unit_that_systemd_refuses_is_not_put_in_place(host: Host) -> None:
    host.program("systemd-analyze", "echo 'Unknown section' >&2; exit 1")
    reply = host.apply(host.release())
    assert (reply.status, reply.stderr) == (1, "Unknown section\n")
    assert not (Path(host.release().path) / "fleet-a.service").exists()


@pytest.mark.parametrize("name", ["env", "health", "fleet-a.service"])
def test_a_file_that_was_touched_is_mended_without_a_restart(host: Host, name: str) -> None:
    release = host.release()
    host.bring(release)
    path = Path(release.path) / name
    path.chmod(0o666)
    path.write_text("other")
    change = host.settle(release)
    assert change
    assert (change.kind, change.interrupts) == ("update", ())
    assert name in change.why


def test_old_releases_are_forgotten_but_never_the_current_or_the_good_one(host: Host) -> None:
    first = host.release()
    host.bring(first)
    for port in range(8001, 8009):
        host.settle(host.release(f"--port {port}"))
    kept = {p.name for p in Path(host.root, "a", "releases").iterdir()}
    assert first.release in kept
    assert host.release("--port 8008").release in kept
    assert len(kept) == 6


def test_releases_are_numbered_in_the_order_that_they_came_and_no_number_is_given_twice(host: Host) -> None:
    def number(release: Release) -> str:
        return (Path(release.path) / "number").read_text()

    first, second, third = (host.release(f"--port {8000 + n}") for n in range(3))
    host.settle(first)
    host.settle(second)
    assert (number(first), number(second)) == ("1\n", "2\n")
    (Path(first.path) / "health").write_text("other")
    host.settle(first)  # mended, or wanted again: it keeps its number
    assert number(first) == "1\n"
    shutil.rmtree(second.path)
    host.settle(third)
    host.settle(second)
    assert (number(third), number(second)) == ("3\n", "4\n")
    Path(host.root, "a", "last-number").unlink()  # a lost note: the releases that are there still tell
    fourth = host.release("--port 9000")
    host.settle(fourth)
    assert number(fourth) == "5\n"


def test_releases_from_before_there_were_numbers_get_theirs_oldest_first(host: Host) -> None:
    old = [host.release(f"--port {8000 + n}") for n in range(3)]
    for release in old:
        host.settle(release)
    for age, release in enumerate(old):
        (Path(release.path) / "number").unlink()
        os.utime(release.path, (1000 + age, 1000 + age))
    Path(host.root, "a", "last-number").unlink()
    new = host.release("--port 9000")
    host.settle(new)
    assert [(Path(r.path) / "number").read_text() for r in (*old, new)] == ["1\n", "2\n", "3\n", "4\n"]


def test_a_first_start_goes_from_nothing_to_healthy(host: Host) -> None:
    release = host.release()
    serving = host.serving
    before = serving.diff(host.see(serving))
    assert before
    assert KNOWN_AFTER_APPLY in before.why
    host.bring(release)
    assert host.link("current") == host.link("good") == f"releases/{release.release}"
    assert host.containers == {"fleet-a": release.release}


def test_what_never_was_healthy_is_switched_at_once(host: Host) -> None:
    (host.path / "broken").write_text("fleet-a")
    wrong = host.release("--no-such-option")
    host.settle(wrong)
    host.settle(host.current(wrong))
    reply = host.apply(host.serving)
    assert (reply.status, reply.stderr) == (1, "its last words\n")
    (host.path / "broken").unlink()
    right = host.release()
    host.settle(right)
    change = host.settle(host.current(right))
    assert change
    assert change.interrupts == ()
    started = host.settle(host.serving)
    assert started
    assert started.kind == "start"


def test_a_changed_argument_waits_for_a_rollout_and_the_old_release_goes_on(host: Host) -> None:
    old, new = host.release(), host.release("--port 8001")
    host.bring(old)
    host.settle(new)
    change = host.current(new).diff(host.see(host.current(new)))
    assert change
    assert (change.kind, change.interrupts) == ("switch", ("instance a",))
    assert host.serving.diff(host.see(host.serving)) is None
    host.settle(host.current(new))  # as a rollout does
    restart = host.serving.diff(host.see(host.serving))
    assert restart
    assert (restart.kind, restart.interrupts) == ("restart", ("instance a",))
    host.settle(host.serving)
    assert host.containers == {"fleet-a": new.release}
    assert host.link("good") == f"releases/{new.release}"


def test_what_serves_is_not_switched_even_if_nobody_wrote_down_that_it_is_good(host: Host) -> None:
    host.bring(host.release())
    Path(host.root, "a", "good").unlink()  # the control side was killed before it could
    new = host.release("--port 8001")
    host.settle(new)
    change = host.current(new).diff(host.see(host.current(new)))
    assert change
    assert change.interrupts == ("instance a",)


def test_a_unit_that_was_changed_or_taken_away_is_mended_on_disk_only(host: Host) -> None:
    release = host.release()
    host.bring(release)
    unit = Path(host.units, "fleet-a.service")
    for gone in (False, True):
        unit.write_text("[Service]\n")
        if gone:
            unit.unlink()
        change = host.settle(host.current(release))
        assert change
        assert (change.kind, change.interrupts) == ("update", ())
        assert host.serving.diff(host.see(host.serving)) is None


def test_where_a_reload_takes_gpus_away_it_waits_for_what_runs(host: Host) -> None:
    release = host.release()
    host.bring(release)
    Path(host.units, "fleet-a.service").write_text("[Service]\n")
    current = host.current(release, reload_harms=True)
    change = current.diff(host.see(current))
    assert change
    assert change.interrupts == ("instance a",)


def test_a_container_that_lost_its_gpus_by_the_reload_is_told(host: Host) -> None:
    host.bring(host.release())
    (host.path / "broken").write_text("blind")
    new = host.release("--port 8001")
    host.settle(new)
    reply = host.apply(host.current(new))
    assert reply.status == 1
    assert "sees no GPU any more" in reply.stderr


def test_an_instance_behind_one_that_must_go_waits_for_it() -> None:
    current = Current("new", "r1", behind=("old", "gone"))
    change = current.diff(Observation("current=\ngood=\nrunning=old \nunit=other"))
    assert change
    assert change.interrupts == ("instance old",)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ({"active": "failed"}, "start"),
        ({"active": "inactive"}, "start"),
        ({"enabled": "disabled"}, "enable"),
    ],
)
def test_a_unit_that_does_not_run_is_started_without_waiting(host: Host, state: dict[str, str], kind: str) -> None:
    host.bring(host.release())
    path = host.path / "state.json"
    known = json.loads(path.read_text())
    known["units"]["fleet-a.service"].update(state)
    if "active" in state:
        known["containers"] = {}
    path.write_text(json.dumps(known))
    change = host.settle(host.serving)
    assert change
    assert (change.kind, change.interrupts) == (kind, ())


def test_an_instance_that_is_slow_to_come_is_waited_for(host: Host) -> None:
    release = host.release()
    host.settle(release)
    host.settle(host.current(release))
    (host.path / "slow").write_text("fleet-a")
    start, wait, remember = serve_steps("a", "start", root=host.root)
    assert isinstance(start, Run)
    assert isinstance(wait, Wait)
    assert isinstance(remember, Run)
    assert host.sh(start.script).status == 0
    assert host.sh(wait.script).status == 75
    change = host.serving.diff(host.see(host.serving))
    assert change
    assert change.kind == "verify"
    (host.path / "slow").unlink()
    assert host.sh(wait.script).status == 0


def test_going_back_is_a_switch_to_a_release_that_is_there(host: Host) -> None:
    old, new = host.release(), host.release("--port 8001")
    host.bring(old)
    host.settle(new)
    host.settle(host.current(new))
    host.settle(host.serving)
    steps = [
        switch_step("a", old.release, root=host.root, units=host.units),
        *serve_steps("a", "restart", root=host.root),
    ]
    for step in steps:
        assert isinstance(step, (Run, Wait))
        assert host.sh(step.script).status == 0
    assert host.containers == {"fleet-a": old.release}
    unknown = host.sh(switch_step("a", "0123456789ab", root=host.root, units=host.units).script)
    assert "there is no release 0123456789ab of a" in unknown.stderr
    assert host.link("current") == f"releases/{old.release}"


def test_an_instance_that_left_is_removed_when_its_time_has_come(host: Host) -> None:
    host.bring(host.release())
    removed = Removed("a", root=host.root, units=host.units, caches=str(host.path))
    change = host.settle(removed)
    assert change
    assert change.interrupts == ("instance a",)
    assert host.containers == {}
    assert not Path(host.root, "a").exists()
    assert not Path(host.units, "fleet-a.service").exists()


def test_a_unit_without_our_mark_is_left_alone(host: Host) -> None:
    unit = Path(host.units, "fleet-a.service")
    unit.write_text("[Service]\nExecStart=/theirs\n")
    removed = Removed("a", root=host.root, units=host.units, caches=str(host.path))
    assert removed.diff(host.see(removed)) is None
    Path(host.root, "a").mkdir(parents=True)
    host.settle(removed)
    assert unit.exists()


def names(place: Path | str) -> list[str]:
    return [path.name for path in Path(place).iterdir()]


def test_in_a_rollout_what_left_is_laid_aside_until_nothing_goes_back_to_it(host: Host) -> None:
    old = host.release()
    host.bring(old)
    marker, caches = host.path / "rollout.json", host.path / "caches"
    (caches / "a").mkdir(parents=True)
    marker.touch()
    removed = Removed("a", root=host.root, units=host.units, caches=str(caches), marker=str(marker))
    for _ in range(2):
        change = host.settle(removed)
        assert change
        assert change.interrupts == ("instance a",)
        assert host.containers == {}
        assert names(host.root) == [".removed-a"], "neither the facts nor the next plan see it"
        for _ in range(2):
            assert host.sh(lay_back("a", root=host.root).script).status == 0
        for step in go_back("a", old.release, root=host.root, units=host.units):
            assert isinstance(step, (Run, Wait))
            assert host.sh(step.script).status == 0
        assert host.containers == {"fleet-a": old.release}
        assert host.link("good") == f"releases/{old.release}"
    host.settle(removed)
    for _ in range(2):
        assert host.sh(forget(root=host.root, caches=str(caches)).script).status == 0
    assert (names(host.root), names(caches)) == ([], [])


def test_what_came_back_by_the_inventory_is_not_forgotten_with_what_had_left(host: Host) -> None:
    host.bring(host.release())
    marker, caches = host.path / "rollout.json", host.path / "caches"
    (caches / "a").mkdir(parents=True)
    marker.touch()
    host.settle(Removed("a", root=host.root, units=host.units, caches=str(caches), marker=str(marker)))
    new = host.release("--port 8001")
    host.bring(new)
    assert host.sh(lay_back("a", root=host.root).script).status == 0
    assert host.sh(forget(root=host.root, caches=str(caches)).script).status == 0
    assert (names(host.root), names(caches)) == (["a"], ["a"])
    assert host.link("current") == f"releases/{new.release}"
