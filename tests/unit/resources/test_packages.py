from __future__ import annotations

import pytest

from fleet.resource import Job, Observation
from fleet.resources import Guard, Held, Packages
from tests.local_host import LocalHost

BOTH = Packages("apt", ("docker.io", "nvidia-open=580.*"))


def test_a_host_with_all_of_them_needs_nothing() -> None:
    assert BOTH.diff(Observation("p0=installed 20.10.24+dfsg1-1\np1=installed 580.95.05-1")) is None


@pytest.mark.parametrize(
    ("seen", "lines"),
    [
        ("p0=absent\np1=installed 580.95.05-1", ["+ docker.io"]),
        ("p0=installed 1\np1=installed 570.1-1", ["- nvidia-open 570.1-1", "+ nvidia-open 580.*"]),
        ("p0=half-configured 1\np1=installed 580.1-1", ["- docker.io 1 (half-configured)", "+ docker.io"]),
        ("", ["+ docker.io", "+ nvidia-open 580.*"]),
    ],
)
def test_what_is_missing_old_or_half_installed_is_named(seen: str, lines: list[str]) -> None:
    change = BOTH.diff(Observation(seen))
    assert change
    assert change.kind == "install"
    assert change.diff.splitlines() == lines


def test_a_version_is_compared_without_its_epoch_too() -> None:
    docker = Packages("apt", ("docker-ce=26.1.*",))
    assert docker.diff(Observation("p0=installed 5:26.1.4-1~debian.12~bookworm")) is None


def test_a_package_that_is_not_held_is_held_without_installing_anything() -> None:
    change = Packages("apt", ("a",), hold=True).diff(Observation("p0=installed 1"))
    assert change
    assert (change.kind, change.why) == ("hold", "not held: a")


def test_a_change_names_what_it_would_stop_only_while_that_runs() -> None:
    guarded = Packages("apt", ("nvidia-open=590.*",), guard=Guard(("driver",), "true"))
    for busy, stops in (("qwen ", ("driver",)), ("", ())):
        change = guarded.diff(Observation(f"p0=installed 580.1-1\nbusy={busy}"))
        assert change
        assert change.interrupts == stops


def test_the_job_has_one_name_for_the_same_work_and_letters_that_systemd_takes() -> None:
    jobs = [Packages("dnf", ("libstdc++=1",)).apply(Observation(""))[0] for _ in range(2)]
    assert isinstance(jobs[0], Job)
    assert jobs[0] == jobs[1]
    assert jobs[0].name.startswith("packages-libstdc---")


def test_apt_is_asked_so_that_it_never_asks_back_waits_for_its_lock_and_removes_nothing() -> None:
    step = BOTH.apply(Observation(""))[0]
    assert isinstance(step, Job)
    assert "install -y --no-install-recommends" in step.script
    assert "docker.io 'nvidia-open=580.*'" in step.script
    for words in ("DPkg::Lock::Timeout=900", "--force-confold", "DEBIAN_FRONTEND=noninteractive", "--no-remove"):
        assert words in step.script
    other = Packages("apt", ("a",), may_remove=True).apply(Observation(""))[0]
    assert isinstance(other, Job)
    assert "--no-remove" not in other.script


DPKG_QUERY = """
case "$*" in
  *"'*"*|*"*"*) cat $0.list;;
  *docker.io*) grep -q docker.io $0.done 2>/dev/null && echo "installed 20.10-1";;
esac"""


def test_apt_installs_once_and_shows_its_progress(host: LocalHost) -> None:
    query = host.program("dpkg-query", DPKG_QUERY)
    host.program("apt-mark", "")
    host.program("dpkg", "")
    host.program(
        "apt-get",
        f'case "$*" in *install*) echo dlstatus:1:42.7:Retrieving 1 of 2 >&3; echo docker.io > {query}.done;; esac',
    )
    host.settle(Packages("apt", ("docker.io",)))
    installs = [call for call in host.calls if call.startswith("apt-get") and " install " in call]
    assert len(installs) == 1
    reply = host.apply(Packages("apt", ("docker.io",)))
    assert "progress: 42% Retrieving 1 of 2" in reply.stdout.splitlines()


def test_apt_that_fails_twice_is_a_failure_with_its_words(host: LocalHost) -> None:
    host.program("dpkg-query", "exit 1")
    host.program("apt-mark", "")
    host.program("dpkg", "")
    host.program("apt-get", 'case "$*" in *install*) echo "E: Unable to locate package x" >&2; exit 100;; esac')
    reply = host.apply(Packages("apt", ("x",)))
    assert reply.status == 1
    assert "Unable to locate package x" in reply.stderr
    assert len([call for call in host.calls if " update" in call]) >= 1, "a stale list is read again before giving up"


def test_what_a_killed_dpkg_left_is_finished_first(host: LocalHost) -> None:
    host.program("dpkg-query", "exit 1")
    host.program("apt-mark", "")
    host.program("apt-get", "")
    host.program("dpkg", 'case "$*" in --audit) echo "packages are only half configured";; esac')
    host.apply(Packages("apt", ("x",)))
    calls = [call for call in host.calls if call.startswith(("apt-get", "dpkg "))]
    configure = next(i for i, call in enumerate(calls) if "--configure -a" in call)
    install = next(i for i, call in enumerate(calls) if call.endswith(" x"))
    assert configure < install


def test_everything_that_came_with_a_driver_is_held_but_nothing_else(host: LocalHost) -> None:
    query = host.program("dpkg-query", DPKG_QUERY)
    query.with_name("dpkg-query.list").write_text(
        "installed nvidia-open 580.95.05-1\ninstalled libcuda1 580.95.05-1\n"
        "installed nvidia-container-toolkit 1.17.8-1\nconfig-files nvidia-old 580.1-1\n"
    )
    host.program(
        "apt-mark", 'case $1 in hold) shift; printf "%s\\n" "$@" > $0.held;; *) cat $0.held 2>/dev/null;; esac'
    )
    change = host.settle(Held("nvidia-driver", "apt", ("*nvidia*", "libcuda1*"), "580.*"))
    assert change
    assert change.diff.split() == ["libcuda1", "nvidia-open"]
