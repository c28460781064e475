from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fleet import facts as facts_module
from fleet.data import load
from fleet.facts import Facts
from fleet.mirrors import MirrorSet, Tree, mirrors_of
from fleet.settings import HostSettings

BARE = facts_module.read("facts_end=yes")
BOOKWORM = replace(BARE, os_id="debian", os_version="12", os_codename="bookworm", arch="x86_64")
NOBLE = replace(BARE, os_id="ubuntu", os_version="24.04", os_codename="noble", arch="aarch64")
ALINUX = replace(BARE, os_id="alinux", os_version="3", os_like=("rhel", "fedora", "centos", "anolis"), arch="x86_64")

NVIDIA = "https://developer.download.nvidia.com/compute/cuda/repos"


def mirrors(**values: object) -> MirrorSet:
    return mirrors_of(HostSettings.model_validate({"mirrors": values}))


@pytest.mark.parametrize(
    ("facts", "tree", "url", "suite", "key"),
    [
        (BOOKWORM, "docker", "https://download.docker.com/linux/debian", "bookworm", "linux/debian/gpg"),
        (BOOKWORM, "cuda", f"{NVIDIA}/debian12/x86_64/", "/", "3bf863cc.pub"),
        (NOBLE, "cuda", f"{NVIDIA}/ubuntu2404/sbsa/", "/", "3bf863cc.pub"),
        (NOBLE, "toolkit", "https://nvidia.github.io/libnvidia-container/stable/deb/arm64/", "/", "gpgkey"),
        (ALINUX, "cuda", f"{NVIDIA}/rhel8/x86_64/", "/", "D42D0685.pub"),
        (ALINUX, "docker", "https://download.docker.com/linux/centos/8/x86_64/stable", "/", "linux/centos/gpg"),
    ],
)  # fmt: skip
def test_each_system_has_its_place_in_the_vendors_trees(
    facts: Facts, tree: Tree, url: str, suite: str, key: str
) -> None:
    source = mirrors().source(tree, facts)
    assert source
    assert (source.url, source.suite) == (url, suite)
    assert source.key_url.endswith(f"/{key}")


def test_debian_13_has_nvidias_newer_key_for_apt_there_refuses_sha1() -> None:
    source = mirrors().source("cuda", replace(BOOKWORM, os_version="13", os_codename="trixie"))
    assert source
    assert source.fingerprint.endswith("8793F200")


def test_an_own_mirror_keeps_the_layout_and_the_vendors_key() -> None:
    source = mirrors(cuda="http://198.18.0.2/cuda/").source("cuda", BOOKWORM)
    assert source
    assert source.url == "http://198.18.0.2/cuda/debian12/x86_64/"
    assert source.key_url == "http://198.18.0.2/cuda/debian12/x86_64/3bf863cc.pub"
    assert source.fingerprint == load("mirrors")["signers"]["cuda-deb"]["fingerprint"]


def test_an_own_mirror_may_sign_with_its_own_key() -> None:
    own = {"toolkit": {"url": "http://mirror/key.asc", "fingerprint": "aaaa " * 10}}
    source = mirrors(toolkit="http://mirror/t", keys=own).source("toolkit", BOOKWORM)
    assert source
    assert (source.key_url, source.fingerprint) == ("http://mirror/key.asc", "A" * 40)


def test_the_chinese_profile_falls_back_to_the_global_one_for_nothing_it_names() -> None:
    cn = mirrors(profile="cn")
    assert cn.roots["toolkit"] == "https://mirrors.ustc.edu.cn/libnvidia-container"
    assert cn.pip
    assert mirrors(profile="cn", pip="").pip == "", "an empty text says: pip's own default"


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("vllm/vllm-openai:v0.8.2", "docker.m.daocloud.io/vllm/vllm-openai:v0.8.2"),
        ("debian:12", "docker.m.daocloud.io/library/debian:12"),
        ("docker.io/qwenllm/qwenvl:2.5-cu121", "docker.m.daocloud.io/qwenllm/qwenvl:2.5-cu121"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        ("egs-registry.cn-hangzhou.cr.aliyuncs.com/egs/vllm:1", "egs-registry.cn-hangzhou.cr.aliyuncs.com/egs/vllm:1"),
    ],
)
def test_an_image_is_looked_for_at_its_registrys_mirror(ref: str, expected: str) -> None:
    assert mirrors(profile="cn").image(ref) == expected


@pytest.mark.parametrize("facts", [BARE, replace(BOOKWORM, os_version="11"), replace(ALINUX, os_version="4")])
def test_a_system_that_the_vendor_has_nothing_for_is_none_not_a_guess(facts: Facts) -> None:
    assert mirrors().source("cuda", facts) is None


def test_every_signer_is_a_whole_fingerprint_with_its_source_and_every_tree_names_one() -> None:
    data = load("mirrors")
    for signer in data["signers"].values():
        assert re.fullmatch(r"[0-9A-F]{40}", str(signer["fingerprint"]))
        assert signer["seen"]
    for layouts in data["trees"].values():
        for layout in layouts.values():
            assert layout["signer"] in data["signers"]
