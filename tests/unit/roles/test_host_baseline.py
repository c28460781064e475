from __future__ import annotations

from dataclasses import replace

import pytest

from fleet import facts as facts_module
from fleet.facts import Container, Disk
from fleet.resource import Problem
from fleet.resources import Absent, File, IniKeys, Packages, TrustedCa
from fleet.secret import Secret
from fleet.settings import HostSettings
from fleet.target import Target
from roles import host_baseline

DEBIAN = replace(
    facts_module.read("facts_end=yes"), os_id="debian", os_version="12", os_codename="bookworm", arch="x86_64",
    package_manager="apt", systemd=252, memory_kib=64 * 1024**2, disks=(Disk("/", "/dev/vda1", 10**8, 10**7),),
)  # fmt: skip
ROCKY = replace(DEBIAN, os_id="rocky", os_version="9.4", os_codename="", package_manager="dnf", os_like=("rhel",))


def target(facts: facts_module.Facts = DEBIAN, ca: str = "", **settings: object) -> Target:
    return Target("gpu-1", HostSettings.model_validate(settings), facts, ca=ca)


def found(facts: facts_module.Facts) -> list[Problem]:
    return list(host_baseline.problems(target(facts)))


def test_a_sound_host_has_no_findings() -> None:
    assert found(DEBIAN) == []
    assert found(ROCKY) == []


def test_all_findings_come_at_once() -> None:
    bad = replace(
        DEBIAN, os_version="11", os_name="Debian GNU/Linux 11", arch="ppc64le", systemd=0, root=False, clock_skew=-7200,
        memory_kib=4 * 1024**2, disks=(Disk("/", "/dev/vda1", 10**7, 1024**2),), reboot_required=True,
        containers=(Container("postgres", "running", "postgres:16", "", "c0ffee"),),
    )  # fmt: skip
    problems = found(bad)
    assert [p.words for p in problems if p.level == "error"] == [
        "Debian GNU/Linux 11 is not supported",
        "the machine is ppc64le",
        "no systemd on the host",
        "commands don't run as root there",
        "1.0 GiB free on / (/dev/vda1): packages need 2 GiB",
        "the clock is 7200 s behind this machine's: certificates will be refused",
    ]
    assert [p.words for p in problems if p.level == "warning"] == [
        "4.0 GiB of memory: loading a model needs more",
        "containers that aren't ours run here: postgres",
        "the system asks for a reboot",
    ]
    assert all(p.hint for p in problems)


def test_our_own_containers_and_stopped_ones_are_no_strangers() -> None:
    own = Container("fleet-qwen", "running", "i", "qwen", "1")
    stopped = Container("old", "exited", "i", "", "2")
    assert found(replace(DEBIAN, containers=(own, stopped))) == []


@pytest.mark.parametrize(("facts", "manager", "gpg"), [(DEBIAN, "apt", "gpg"), (ROCKY, "dnf", "gnupg2")])
def test_the_tools_that_other_roles_use_are_installed(facts: facts_module.Facts, manager: str, gpg: str) -> None:
    packages = [r for r in host_baseline.resources(target(facts)) if isinstance(r, Packages)]
    assert [p.manager for p in packages] == [manager]
    assert gpg in packages[0].names


def test_packages_come_through_the_proxy_that_is_told() -> None:
    proxy = {"http": "http://proxy:3128", "no_proxy": ["mirror.local"]}
    first = next(iter(host_baseline.resources(target(proxy=proxy))))
    assert isinstance(first, File)
    assert first.content == (
        "// Written by vllm-fleet: packages come through this proxy.\n"
        'Acquire::http::Proxy "http://proxy:3128";\n'
        'Acquire::http::Proxy::mirror.local "DIRECT";\n'
        'Acquire::https::Proxy::mirror.local "DIRECT";\n'
    )
    dnf = next(iter(host_baseline.resources(target(ROCKY, proxy=proxy))))
    assert dnf == IniKeys("/etc/dnf/dnf.conf", "main", {"proxy": "http://proxy:3128"})


def test_a_proxys_password_is_a_secret() -> None:
    proxy = {"https": "http://u:hidden@proxy:3128"}
    apt = next(iter(host_baseline.resources(target(proxy=proxy))))
    dnf = next(iter(host_baseline.resources(target(ROCKY, proxy=proxy))))
    assert isinstance(apt, File)
    assert isinstance(apt.content, Secret)
    assert apt.mode == 0o600
    assert "hidden" not in repr(dnf)


def test_a_proxy_that_is_no_longer_told_goes() -> None:
    assert next(iter(host_baseline.resources(target()))) == Absent(host_baseline.APT_PROXY, "no proxy is told")
    assert next(iter(host_baseline.resources(target(ROCKY)))) == IniKeys("/etc/dnf/dnf.conf", "main", {"proxy": None})


def test_the_mirrors_authority_is_trusted_after_the_tool_for_it_is_there() -> None:
    kinds = [type(r) for r in host_baseline.resources(target(ca="-----BEGIN…"))]
    assert kinds.index(Packages) < kinds.index(TrustedCa)
    assert TrustedCa not in [type(r) for r in host_baseline.resources(target())]


def test_every_resource_has_an_id_of_its_own() -> None:
    for facts in (DEBIAN, ROCKY):
        ids = [r.id for r in host_baseline.resources(target(facts, "pem"))]
        assert len(ids) == len(set(ids))
