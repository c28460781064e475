"""Where a host's packages, images and Python wheels come from: the shipped profiles, its own settings on top.

An own mirror is the root of a tree laid out as the vendor's. It carries the vendor's key unless ``mirrors.keys`` says
another for it. Pure, except that the shipped data is read once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from fleet.data import load
from fleet.facts import Facts
from fleet.settings import HostSettings

Tree = Literal["docker", "cuda", "toolkit"]
Signed = Literal["lists", "packages"]
_DEB_ARCH: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_CUDA_ARCH: Final = {"x86_64": "x86_64", "aarch64": "sbsa"}


@dataclass(frozen=True)
class PackageSource:
    """One package repository for one host: for apt a URI with suite and components, for dnf a base URL.

    ``suite`` is ``/`` for a flat repository. ``key_url`` is the file of the signing key, ``fingerprint`` (40
    hexadecimal digits, upper case) what it must have, ``signed`` what it signs.
    """

    name: str
    url: str
    suite: str
    components: tuple[str, ...]
    key_url: str
    fingerprint: str
    signed: Signed


@dataclass(frozen=True)
class MirrorSet:
    """What one host's settings make of the profiles: ``roots`` by tree, pip's index (or empty), registries to go to.

    ``keys`` is tree → (URL, fingerprint) for mirrors that sign with a key of their own.
    """

    roots: Mapping[str, str]
    pip: str = ""
    registries: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def source(self, tree: Tree, facts: Facts) -> PackageSource | None:
        """The repository of ``tree`` for a host, or None where the vendor has none for its system."""
        layouts: Mapping[str, Any] = load("mirrors")["trees"][tree]
        layout = layouts.get(facts.release) or layouts.get(facts.release.partition("-")[0])
        if layout is None or facts.arch not in _CUDA_ARCH:
            return None
        words = {
            "version": facts.os_version,
            "codename": facts.os_codename,
            "major": facts.release.partition("-")[2],
            "arch": facts.arch,
            "deb_arch": _DEB_ARCH[facts.arch],
            "cuda_arch": _CUDA_ARCH[facts.arch],
        }
        root = self.roots[tree].rstrip("/")
        signer = load("mirrors")["signers"][layout["signer"]]
        key = (f"{root}/{layout['key'].format(**words)}", str(signer["fingerprint"]))
        key_url, fingerprint = self.keys.get(tree, key)
        return PackageSource(
            name=tree,
            url=f"{root}/{layout['url'].format(**words)}",
            suite=layout.get("suite", "/").format(**words),
            components=tuple(layout.get("components", ())),
            key_url=key_url,
            fingerprint=fingerprint,
            signed=layout.get("signed", "lists"),
        )

    def image(self, ref: str) -> str:
        """An image's reference at the mirror of its registry, or as it is where there is none.

        ``vllm/vllm-openai:v0.8.2`` lies at docker.io, which Docker doesn't say.
        """
        head, slash, rest = ref.partition("/")
        named = slash and ("." in head or ":" in head or head == "localhost")
        registry, path = (head, rest) if named else ("docker.io", ref if slash else f"library/{ref}")
        mirror = self.registries.get(registry)
        return f"{mirror.rstrip('/')}/{path}" if mirror else ref


def pip_environment(index: str) -> dict[str, str]:
    """What makes pip go to ``index``, or nothing. A mirror without TLS is trusted only because it was named."""
    if not index:
        return {}
    parts = urlsplit(index)
    return {"PIP_INDEX_URL": index} | ({"PIP_TRUSTED_HOST": parts.netloc} if parts.scheme == "http" else {})


def mirrors_of(settings: HostSettings) -> MirrorSet:
    """The host's mirrors: its own values, else its profile's, else the global ones."""
    own = settings.mirrors
    profiles = load("mirrors")["profiles"]
    profile = {**profiles["global"], **profiles[own.profile]}
    roots = {tree: getattr(own, tree) or profile[tree] for tree in ("docker", "cuda", "toolkit")}
    keys: dict[str, tuple[str, str]] = {tree: (key.url, key.fingerprint) for tree, key in own.keys.items()}
    pip = profile["pip"] if own.pip is None else own.pip
    return MirrorSet(roots, pip, {**profile["registries"], **own.registries}, keys)
