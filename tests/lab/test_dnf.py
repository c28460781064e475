"""The real dnf on a repository of simulated packages, as on RHEL 9: modules, signatures, versions, locks.

Needs root and Debian's packages dnf, dnf-plugins-core, createrepo-c and rpm. dnf works on a system root below a
temporary directory; its configuration is bound over this machine's in a mount namespace that ends with each command.
"""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fleet import facts as facts_module
from fleet.resources import DnfModule, Held, IniKeys, Packages, Repository
from fleet.settings import HostSettings
from fleet.target import Target
from roles import nvidia_driver
from tests.local_host import LocalHost

NEEDED = ("dnf", "createrepo_c", "modifyrepo_c", "rpmbuild", "rpmsign", "gpg", "unshare")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.getuid() != 0, reason="mounts need root"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"),
]
VERSIONS = ("580.95.05", "580.105.08", "590.48.01")


def spec(name: str, version: str, requires: str = "") -> str:
    needs = f"Requires: {requires}\n" if requires else ""
    return (
        f"Name: {name}\nVersion: {version}\nRelease: 1.el9\nEpoch: 3\nSummary: simulated\nLicense: none\n"
        f"BuildArch: noarch\n{needs}%description\nSimulated.\n%files\n"
    )


def modules(name: str, streams: dict[str, tuple[str, ...]]) -> str:
    """The modules' YAML: which package versions each stream has."""
    documents = []
    for number, (stream, versions) in enumerate(streams.items()):
        artifacts = "".join(
            f"\n      - {package}-3:{version}-1.el9.noarch"
            for version in versions
            for package in ("nvidia-open", "cuda-drivers", "nvidia-driver-cuda")
        )
        documents.append(
            f"---\ndocument: modulemd\nversion: 2\ndata:\n  name: {name}\n  stream: {stream}\n  version: {number + 1}\n"
            f"  context: abcdef0{number}\n  arch: x86_64\n  summary: s\n  description: d\n"
            f"  license:\n    module: [none]\n  artifacts:\n    rpms:{artifacts}\n...\n"
        )
    return "".join(documents)


def build(path: Path) -> str:
    """A signed repository under ``path/repo``; the fingerprint of its key."""
    home = path / "gnupg"
    home.mkdir(mode=0o700)
    env = {**os.environ, "GNUPGHOME": str(home), "HOME": str(path)}
    call = partial(subprocess.run, check=True, capture_output=True, text=True, env=env)
    call(["gpg", "--batch", "--passphrase", "", "--quick-gen-key", "sim <sim@example>", "rsa2048", "sign", "never"])
    repo = path / "repo"
    repo.mkdir()
    specs = path / "specs"
    specs.mkdir()
    for version in VERSIONS:
        for name, needs in {
            "nvidia-open": f"nvidia-driver-cuda = 3:{version}",
            "cuda-drivers": f"nvidia-driver-cuda = 3:{version}",
            "nvidia-driver-cuda": "",
        }.items():
            (specs / f"{name}-{version}.spec").write_text(spec(name, version, needs))
    files = [str(file) for file in sorted(specs.iterdir())]
    call(["rpmbuild", "-bb", "--define", f"_topdir {path}/build", "--define", f"_rpmdir {repo}", *files])
    rpms = [str(file) for file in repo.rglob("*.rpm")]
    call(["rpmsign", "--define", "_gpg_name sim", "--define", "__gpg /usr/bin/gpg", "--addsign", *rpms])
    call(["createrepo_c", str(repo)])
    (path / "modules.yaml").write_text(modules("nvidia-driver", {"580-open": VERSIONS[:2], "590-open": VERSIONS[2:]}))
    call(["modifyrepo_c", "--mdtype=modules", str(path / "modules.yaml"), str(repo / "repodata")])
    (repo / "D42D0685.pub").write_text(call(["gpg", "--armor", "--export"]).stdout)
    listed = call(["gpg", "--with-colons", "--list-keys"]).stdout
    call(["gpgconf", "--kill", "gpg-agent"])
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    path = tmp_path_factory.mktemp("sim")
    fingerprint = build(path)
    handler = partial(QuietHandler, directory=str(path / "repo"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield Repository("dnf", "cuda", url, f"{url}/D42D0685.pub", fingerprint, signed="packages")
    server.shutdown()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def rhel(tmp_path: Path) -> LocalHost:
    """A host whose dnf and rpm know only a system root of the test's own."""
    root, etc = tmp_path / "root", tmp_path / "etc"
    (root / "etc" / "dnf").mkdir(parents=True)
    for name in ("yum.repos.d", "pki"):
        (etc / name).mkdir(parents=True)
    shutil.copytree("/etc/dnf", etc / "dnf")
    enter = tmp_path / "enter"
    enter.write_text(
        "exec unshare --mount sh -c '\n"
        f"mkdir -p /etc/yum.repos.d /etc/pki\n"
        f"for d in dnf yum.repos.d pki; do mount --bind {etc}/$d /etc/$d; done\n"
        f"mount --bind {etc}/dnf {root}/etc/dnf\n"
        'exec sh "$@"\' sh "$@"\n'
    )
    host = LocalHost(tmp_path, ("sh", str(enter)))
    options = f"--installroot={root} --releasever=9 --setopt=module_platform_id=platform:el9 --disableplugin=local"
    host.program("dnf", f'exec /usr/bin/dnf {options} --setopt=reposdir=/etc/yum.repos.d "$@"')
    host.program("rpm", f'exec /usr/bin/rpm --root {root} "$@"')
    return host


def installed(host: LocalHost, name: str) -> str:
    return host.sh(f"rpm -q --qf '%{{VERSION}}' {name}").stdout


def test_a_branch_is_installed_locked_and_switched(rhel: LocalHost, repository: Repository) -> None:
    rhel.settle(repository)
    rhel.settle(DnfModule("nvidia-driver", "580-open"))
    rhel.settle(Packages("dnf", ("nvidia-open=580.95.05*",)))
    held = Held("nvidia-driver", "dnf", nvidia_driver.PARTS, "580.*")
    change = rhel.settle(held)
    assert change
    assert change.diff.split() == ["nvidia-driver-cuda", "nvidia-open"]
    assert rhel.sh("dnf -y upgrade").status == 0
    assert installed(rhel, "nvidia-open") == "580.95.05", "an upgrade by hand leaves the driver where it is"

    switch = DnfModule("nvidia-driver", "590-open")
    change = rhel.settle(switch)
    assert change
    assert change.diff == "- nvidia-driver:580-open\n+ nvidia-driver:590-open"
    rhel.settle(Packages("dnf", ("nvidia-open=590.*",), may_remove=True))
    assert installed(rhel, "nvidia-driver-cuda") == "590.48.01"
    rhel.settle(replace(held, version="590.*"))


def test_a_stream_hides_the_versions_of_others(rhel: LocalHost, repository: Repository) -> None:
    rhel.settle(repository)
    rhel.settle(DnfModule("nvidia-driver", "580-open"))
    reply = rhel.apply(Packages("dnf", ("nvidia-open=590.*",)))
    assert reply.status == 1
    assert "590" in reply.stderr
    assert installed(rhel, "nvidia-open") != "590.48.01"


def test_packages_are_held_by_name_too(rhel: LocalHost, repository: Repository) -> None:
    rhel.settle(repository)
    rhel.settle(DnfModule("nvidia-driver", "580-open"))
    rhel.settle(Packages("dnf", ("nvidia-open=580.95.05*",), hold=True))
    rhel.settle(Packages("dnf", ("nvidia-open=580.105.08*",), hold=True))
    assert installed(rhel, "nvidia-open") == "580.105.08"


def test_a_package_that_another_key_signed_is_refused(rhel: LocalHost, repository: Repository) -> None:
    rhel.settle(repository)
    key = rhel.path / "etc" / "pki" / "rpm-gpg" / "RPM-GPG-KEY-fleet-cuda"
    other = rhel.path / "other"
    other.mkdir(mode=0o700)
    make = "gpg --batch --passphrase '' --quick-gen-key o rsa2048 sign never; gpg --armor --export"
    key.write_text(rhel.sh(make, env={"GNUPGHOME": str(other)}).stdout)
    assert repository.diff(rhel.see(repository)) is not None, "the plan sees that the key isn't the one"
    reply = rhel.apply(Packages("dnf", ("nvidia-driver-cuda",)))
    assert reply.status != 0
    assert installed(rhel, "nvidia-driver-cuda").startswith("package ")


def test_dnfs_proxy_is_set_beside_what_stands_there(rhel: LocalHost) -> None:
    conf = rhel.path / "etc" / "dnf" / "dnf.conf"
    conf.write_text("[main]\n# theirs\ngpgcheck=1\n")
    rhel.settle(IniKeys("/etc/dnf/dnf.conf", "main", {"proxy": "http://proxy:3128"}))
    assert conf.read_text() == "[main]\n# theirs\ngpgcheck=1\nproxy=http://proxy:3128\n"
    rhel.settle(IniKeys("/etc/dnf/dnf.conf", "main", {"proxy": None}))
    assert conf.read_text() == "[main]\n# theirs\ngpgcheck=1\n"


@pytest.mark.parametrize(("os_id", "version"), [("rocky", "9.4"), ("alinux", "3")])
def test_the_role_finds_its_stream(rhel: LocalHost, repository: Repository, os_id: str, version: str) -> None:
    facts = replace(
        facts_module.read("pci+=0000:00:06.0 3D controller [0302]: NVIDIA T4 [10de:1eb8] (rev a1)\nfacts_end=yes"),
        os_id=os_id, os_version=version, arch="x86_64", kernel="5.14.0", package_manager="dnf",
    )  # fmt: skip
    target = Target("h", HostSettings.model_validate({"driver": {"version": "580.95.05"}}), facts)
    rhel.settle(repository)
    for resource in nvidia_driver.resources(target):
        if isinstance(resource, (DnfModule, Held)) or (isinstance(resource, Packages) and "nvidia" in resource.id):
            rhel.settle(resource)
    assert installed(rhel, "nvidia-open") == "580.95.05"
