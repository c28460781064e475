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

from fleet.resource import Observation, Run
from fleet.resources import Repository
from tests.local_host import LocalHost

DOCKER = Repository("apt", "docker", "http://m/linux/debian", "http://m/gpg", "A" * 40, "bookworm", ("stable",))
CUDA = Repository("dnf", "cuda", "http://m/rhel9/x86_64/", "http://m/key.pub", "B" * 40, signed="packages")


def test_apt_gets_a_deb822_source_that_names_its_one_key() -> None:
    assert DOCKER.path == "/etc/apt/sources.list.d/fleet-docker.sources"
    assert DOCKER.definition == (
        "# Written by vllm-fleet.\nTypes: deb\nURIs: http://m/linux/debian\nSuites: bookworm\nComponents: stable\n"
        "Signed-By: /etc/apt/keyrings/fleet-docker.gpg\n"
    )


def test_a_flat_repository_has_no_components() -> None:
    flat = replace(DOCKER, suite="/", components=())
    assert "Suites: /\nSigned-By" in flat.definition


@pytest.mark.parametrize(("signed", "lists", "packages"), [("lists", 1, 0), ("packages", 0, 1)])
def test_dnf_checks_what_the_vendor_signs(signed: str, lists: int, packages: int) -> None:
    repository = replace(CUDA, signed="lists" if signed == "lists" else "packages")
    assert f"repo_gpgcheck={lists}\ngpgcheck={packages}\n" in repository.definition
    assert "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-fleet-cuda\n" in repository.definition


def test_a_key_file_with_another_key_in_it_is_a_change() -> None:
    change = DOCKER.diff(Observation(f"definition=\nkeys={'A' * 40} {'C' * 40}\nothers="))
    assert change
    assert f"its key file holds {'A' * 40}, {'C' * 40}" in change.why


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """An address with a key in both forms, and the key's fingerprint."""
    if not shutil.which("gpg") or not Path("/usr/lib/apt/apt-helper").exists():
        pytest.skip("needs gpg and apt")
    path = tmp_path_factory.mktemp("keys")
    (path / "home").mkdir(mode=0o700)
    env = {**os.environ, "GNUPGHOME": str(path / "home")}

    def gpg(*words: str) -> bytes:
        return subprocess.run(["gpg", "--batch", *words], check=True, capture_output=True, env=env).stdout

    gpg("--passphrase", "", "--quick-gen-key", "k <k@example>", "rsa2048", "sign", "never")
    (path / "key.gpg").write_bytes(gpg("--export"))
    (path / "key.asc").write_bytes(gpg("--armor", "--export"))
    gpg("--passphrase", "", "--quick-gen-key", "m <m@example>", "rsa2048", "sign", "never")
    (path / "two.asc").write_bytes(gpg("--armor", "--export"))
    listed = gpg("--with-colons", "--list-keys", "k@example").decode()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    yield f"http://127.0.0.1:{server.server_port}", fingerprint
    server.shutdown()
    server.server_close()
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True, env=env)


def repository(host: LocalHost, served: tuple[str, str], key: str) -> Repository:
    etc = host.path / "etc"
    (etc / "apt" / "sources.list.d").mkdir(parents=True, exist_ok=True)
    address, fingerprint = served
    return Repository("apt", "cuda", f"{address}/debian12/amd64/", f"{address}/{key}", fingerprint, etc=str(etc))


@pytest.mark.parametrize("key", ["key.asc", "key.gpg"])
def test_a_key_in_either_form_is_fetched_checked_and_readable_for_apts_own_user(
    host: LocalHost, served: tuple[str, str], key: str
) -> None:
    cuda = repository(host, served, key)
    change = host.settle(cuda)
    assert change
    assert change.kind == "create"
    assert Path(cuda.key_path).stat().st_mode & 0o777 == 0o644
    assert not Path(cuda.key_path).read_bytes().startswith(b"-----"), "apt takes .gpg for the binary form"
    Path(cuda.key_path).chmod(0o600)
    assert cuda.diff(host.see(cuda)) is not None
    host.settle(cuda)


@pytest.mark.parametrize(("key", "words"), [("two.asc", "it is not trusted"), ("nothing.asc", "404")])
def test_a_wrong_key_or_none_is_refused_and_nothing_is_put_in_place(
    host: LocalHost, served: tuple[str, str], key: str, words: str
) -> None:
    cuda = repository(host, served, key)
    reply = host.apply(cuda)
    assert reply.status != 0
    assert words in reply.stderr
    assert not Path(cuda.key_path).exists()
    assert not Path(cuda.path).exists()


def test_entries_of_others_for_the_same_address_are_silenced_and_kept_beside(
    host: LocalHost, served: tuple[str, str]
) -> None:
    cuda = repository(host, served, "key.asc")
    lists = host.path / "etc" / "apt" / "sources.list.d"
    line = f"deb [signed-by=/x.gpg] {served[0]}/debian12/$(ARCH) /\n"
    (lists / "nvidia.list").write_text(f"# hello\n{line}deb http://other/ /\n")
    (lists / "same.sources").write_text(f"Types: deb\nURIs: {served[0]}/debian12/amd64\nSuites: /\n")
    (lists / "longer.list").write_text(f"deb {served[0]}/debian12/amd64/more /\n")
    change = host.settle(cuda)
    assert change
    assert "nvidia.list" in change.why
    assert (lists / "nvidia.list").read_text() == f"# hello\n# vllm-fleet: {line}deb http://other/ /\n"
    assert not (lists / "same.sources").exists()
    assert (lists / "same.sources.fleet-old").exists()
    assert "# vllm-fleet" not in (lists / "longer.list").read_text()


def test_without_gpg_nothing_is_trusted() -> None:
    step = DOCKER.apply(Observation(""))[0]
    assert isinstance(step, Run)
    assert step.script.index("gpg isn't installed") < step.script.index("apt-helper")
