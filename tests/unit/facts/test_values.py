from __future__ import annotations

from dataclasses import replace

import pytest

from fleet import facts
from fleet.facts import read

BARE = read("facts_end=yes")


@pytest.mark.parametrize(
    ("os_id", "version", "like", "release"),
    [
        ("debian", "12", "", "debian-12"),
        ("ubuntu", "24.04", "debian", "ubuntu-24.04"),
        ("rocky", "9.4", "rhel centos fedora", "rhel-9"),
        ("almalinux", "8.10", "rhel centos fedora", "rhel-8"),
        ("alinux", "3", "rhel fedora centos anolis", "rhel-8"),
        ("alinux", "4", "rhel fedora centos anolis", ""),
        ("rhel", "10.0", "fedora", ""),
        ("openEuler", "22.03", "", ""),
        ("", "", "", ""),
    ],
)
def test_a_system_is_known_by_the_release_that_packages_are_made_for(
    os_id: str, version: str, like: str, release: str
) -> None:
    assert replace(BARE, os_id=os_id, os_version=version, os_like=tuple(like.split())).release == release


def test_the_clocks_difference_is_known_only_with_a_time_to_compare() -> None:
    answer = "time=1000\nfacts_end=yes"
    assert read(answer).clock_skew == 0
    assert read(answer, now=900.4).clock_skew == 100


def test_who_we_are_there_what_contains_the_host_and_whose_the_driver_is() -> None:
    told = read("uid=1000\ncontainer=lxc\ndriver_ours=yes\nfacts_end=yes")
    assert (told.root, told.container, told.driver_ours) == (False, "lxc", True)
    assert (BARE.root, BARE.container, BARE.driver_ours) == (True, "", False)


def test_the_script_asks_for_them() -> None:
    for key in ("uid", "container", "driver_ours"):
        assert f"say {key} " in facts.SCRIPT or f"echo {key}=" in facts.SCRIPT
