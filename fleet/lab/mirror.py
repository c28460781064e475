"""The package mirror: Debian's packages for the hosts, the simulated ones, and wheels for pip; signed as a real one is.

Everything is fetched once by this machine's own apt and pip, into the cache, and served from there.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Final

from fleet.lab import machine, roots, simulated
from fleet.lab.machine import LabError, key_of, run
from fleet.target import ROOT

#: What the roles install from Debian, by release. The rest of the closure is apt's to find.
_BOTH: Final = ("docker.io", "haproxy", "socat", "pciutils", "iptables", "apparmor", "unattended-upgrades")
DEBIAN: Final = {"bookworm": _BOTH, "trixie": (*_BOTH, "docker-cli")}
#: Wheels that the hosts' tools want, by the requirement files that ship with the roles.
REQUIREMENTS: Final = ROOT / "templates" / "model_weights"
_VERSION: Final = 2


def fill(home: Path) -> Path:
    """The mirror's tree, from the cache or made now; ``home`` is the GnuPG home with the lab's key."""
    kernel = platform.release()
    made_from = [file.read_bytes() for file in simulated.sources()]
    place = machine.cache() / f"mirror-{key_of(DEBIAN, kernel, made_from, _VERSION, _wanted_wheels())}"
    if not (place / ".done").exists():
        shutil.rmtree(place, ignore_errors=True)
        for release in DEBIAN:
            _debian(place / f"debian-{release}", release)
        for release in ("debian12", "debian13"):
            tree = place / "cuda" / release / "x86_64"
            tree.mkdir(parents=True)
            simulated.build_driver(tree, kernel)
        tree = place / "toolkit" / "stable" / "deb" / "amd64"
        tree.mkdir(parents=True)
        simulated.build_toolkit(tree)
        _wheels(place / "pip")
        (place / ".done").touch()
    for tree in (
        *(place / f"debian-{r}" for r in DEBIAN),
        *(place / "cuda").glob("*/*"),
        *(place / "toolkit").glob("*/*/*"),
    ):
        _sign(tree, home)
    public = _public(home)
    for where in (
        "key.gpg",
        "toolkit/gpgkey",
        "cuda/debian12/x86_64/3bf863cc.pub",
        "cuda/debian13/x86_64/8793F200.pub",
    ):
        (place / where).write_bytes(public)
    return place


def make_key(home: Path) -> str:
    """The lab's signing key, made once; its fingerprint."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    gpg: list[str | Path] = ["gpg", "--homedir", home, "--batch", "--quiet"]
    listed = run([*gpg, "--list-keys", "--with-colons"])
    if "fpr:" not in listed:
        run([*gpg, "--passphrase", "", "--quick-generate-key", "lab <lab@localhost>", "rsa3072", "sign", "never"])
        listed = run([*gpg, "--list-keys", "--with-colons"])
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))


def _public(home: Path) -> bytes:
    return run(["gpg", "--homedir", home, "--batch", "--armor", "--export"]).encode()


def public_key(home: Path) -> bytes:
    """The key in binary form, as /usr/share/keyrings wants it."""
    file = home / "public.gpg"
    file.unlink(missing_ok=True)
    run(["gpg", "--homedir", home, "--batch", "--output", file, "--export"])
    return file.read_bytes()


def _debian(into: Path, release: str) -> None:
    """Download ``DEBIAN[release]`` with all that a bare host lacks of it, by apt with a state of its own."""
    into.mkdir(parents=True)
    state = into / ".apt"
    for part in (
        "lists/partial",
        "archives/partial",
        "etc/apt.conf.d",
        "etc/preferences.d",
        "etc/sources.list.d",
        "trusted",
    ):
        (state / part).mkdir(parents=True)
    root = roots.root_of(release)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (state / "etc/sources.list").write_text(f"deb [signed-by={keyring}] {machine.apt_uri()} {release} main\n")
    options = {
        "Dir::State::Lists": state / "lists", "Dir::State::status": root / "var/lib/dpkg/status",
        "Dir::Cache": state, "Dir::Cache::archives": state / "archives",
        "Dir::Etc::sourcelist": state / "etc/sources.list", "Dir::Etc::sourceparts": state / "etc/sources.list.d",
        "Dir::Etc::preferencesparts": state / "etc/preferences.d",
        "Dir::Etc::preferences": "/dev/null", "APT::Install-Recommends": "0", "Debug::NoLocking": "1",
        "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "APT::Sandbox::User": "root",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    run(["apt-get", *words, "update", "-q"])
    run(["apt-get", *words, "install", "-y", "-q", "--download-only", *DEBIAN[release]])
    for package in (state / "archives").glob("*.deb"):
        package.rename(into / package.name.replace("%3a", "_"))
    shutil.rmtree(state)


def _sign(tree: Path, home: Path) -> None:
    """A flat repository's index, signed: Packages, Release, InRelease. Made where it isn't, or by another key."""
    stamp = tree / ".signed-by"
    key = make_key(home)
    if stamp.exists() and stamp.read_text() == key:
        return
    packages = run(["dpkg-scanpackages", "--multiversion", "."], cwd=tree)
    (tree / "Packages").write_text(packages)
    release = run(["apt-ftparchive", "-o", "APT::FTPArchive::Release::Suite=lab", "release", "."], cwd=tree)
    (tree / "Release").write_text(release)
    for name, mode in (("InRelease", "--clearsign"), ("Release.gpg", "--detach-sign")):
        (tree / name).unlink(missing_ok=True)
        run(["gpg", "--homedir", home, "--batch", "--armor", "--output", tree / name, mode, tree / "Release"])
    stamp.write_text(key)


def _wanted_wheels() -> list[str]:
    """Requirements of the hosts' tools, as the roles ship them."""
    return [file.read_text() for file in sorted(REQUIREMENTS.glob("*.txt"))]


def _wheels(into: Path) -> None:
    """An index as PEP 503 has it (``simple/NAME/``), filled by this machine's own pip."""
    simple = into / "simple"
    simple.mkdir(parents=True)
    files = sorted(REQUIREMENTS.glob("*.txt"))
    if not files:
        return
    store = into / "wheels"
    words: list[str | Path] = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    words += ["--dest", store, "--only-binary=:all:", "--no-deps"]
    words += ["--python-version", "3.11", "--implementation", "cp"]  # the image's Python, as Debian 12 has it
    for platform_ in ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64"):
        words += ["--platform", platform_]
    for file in files:
        run([*words, "-r", file])
    names: dict[str, list[str]] = {}
    for wheel in sorted(file.name for file in store.iterdir()):
        names.setdefault(re.sub(r"[-_.]+", "-", wheel.split("-")[0]).lower(), []).append(wheel)
    if not names:
        raise LabError("pip downloaded nothing", where="lab")
    for name, wheels in names.items():
        (simple / name).mkdir()
        links = "".join(f'<a href="../../wheels/{wheel}">{wheel}</a><br>\n' for wheel in wheels)
        (simple / name / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")
    listing = "".join(f'<a href="{name}/">{name}</a><br>\n' for name in names)
    (simple / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{listing}</body></html>\n")
