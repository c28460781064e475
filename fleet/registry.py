"""Image references, and a tag's digest as its registry tells it (the Docker Registry HTTP API V2, with token login).

A digest names the same bytes wherever they are pulled from, so that a mirror or a fall-back need not be trusted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import requests

from fleet import web
from fleet.errors import LookupFailed, SettingsError
from fleet.settings import RegistryLogin

#: Docker Hub's name in references, and the host that speaks for it.
HUB: Final = "docker.io"
_HUB_HOST: Final = "registry-1.docker.io"
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Reference:
    """``registry/repository:tag@digest`` in its parts; the registry of ``vllm/vllm-openai`` is docker.io."""

    registry: str
    repository: str
    tag: str = "latest"
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"


@dataclass(frozen=True)
class Found:
    """What a registry says of a tag: the digest to pull by, and the bytes of its layers as they travel (compressed)."""

    digest: str
    size: int


def parse(text: str) -> Reference:
    """The parts of a reference, by Docker's rules.

    Raises:
        SettingsError: it isn't one.
    """
    rest, _, digest = text.partition("@")
    head, slash, tail = rest.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        registry, rest = head, tail
    else:
        registry = HUB
    repository, _, tag = rest.partition(":")
    if registry in (HUB, "index.docker.io", _HUB_HOST):
        registry = HUB
        repository = repository if "/" in repository else f"library/{repository}"
    well = (
        _NAME.fullmatch(repository) and (not tag or _TAG.fullmatch(tag)) and (not digest or _DIGEST.fullmatch(digest))
    )
    if not well:
        raise SettingsError(
            f"{text!r} is no image reference", hint="written [registry/]repository[:tag][@sha256:…], in lower case"
        )
    return Reference(registry, repository, tag or "latest", digest)


def candidates(ref: str, registries: Mapping[str, str], fallbacks: Sequence[str]) -> tuple[str, ...]:
    """The names (``registry/repository``) that an image may be pulled from, in the order in which they are tried.

    ``registries`` maps a registry to the mirror that stands in for it (``docker.io`` → ``m.daocloud.io/docker.io``). A
    fall-back is a registry that has the same repository (``mirror.example:5000``), or a whole repository.
    """
    own = parse(ref)
    names = [f"{registries[own.registry]}/{own.repository}"] if own.registry in registries else []
    names.append(own.name)
    for fallback in fallbacks:
        names.append(parse(fallback).name if "/" in fallback else f"{fallback}/{own.repository}")
    return tuple(dict.fromkeys(names))


def look_up(ref: str, names: Sequence[str], *, session: requests.Session, login: RegistryLogin | None = None) -> Found:
    """The digest behind the tag of ``ref``, from the first of ``names`` (see :func:`candidates`) that knows it.

    The login is shown to the image's own registry only, never to a mirror.

    Raises:
        LookupFailed: none of them does; every reason is told.
    """
    own = parse(ref)
    if own.digest:
        return Found(own.digest, 0)
    reasons: list[LookupFailed] = []
    for name in names:
        place = parse(f"{name}:{own.tag}")
        try:
            return _ask_registry(place, session, login if place.registry == own.registry else None)
        except LookupFailed as error:
            reasons.append(error)
    if len(reasons) == 1:
        raise reasons[0]
    words = "; ".join(reason.message for reason in reasons)
    raise LookupFailed(f"no registry gives the digest of {ref}: {words}", where=ref, hint=reasons[-1].hint)


def _ask_registry(place: Reference, session: requests.Session, login: RegistryLogin | None) -> Found:
    what = f"the registry {place.registry}"
    base = f"{_address(place.registry)}/v2/{place.repository}/manifests/"
    headers = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS))}
    answer = web.ask(session, base + place.tag, what=what, headers=headers)
    if answer.status_code == 401:
        headers["Authorization"] = _authorize(answer, place, session, login)
        answer = web.ask(session, base + place.tag, what=what, headers=headers)
    _check(answer, place, what, login)
    digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    said = answer.headers.get("Docker-Content-Digest", digest)
    if said != digest:
        raise LookupFailed(
            f"{what} sent a manifest that doesn't match its own digest", where=place.name,
            hint="something between here and there changes what it sends: a proxy, or a broken mirror",
        )  # fmt: skip
    manifest = web.json_of(answer, what=what)
    return Found(digest, _size(manifest, base, headers, session, what))


def _address(registry: str) -> str:
    """Where a registry answers; plain HTTP on this machine only, as Docker has it."""
    host = _HUB_HOST if registry == HUB else registry
    local = host.partition(":")[0] in ("localhost", "127.0.0.1")
    return f"{'http' if local else 'https'}://{host}"


def _authorize(
    answer: requests.Response, place: Reference, session: requests.Session, login: RegistryLogin | None
) -> str:
    """The Authorization header that the registry's challenge asks for."""
    auth = (login.username, login.password.reveal()) if login else None
    scheme, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
    if scheme.lower() == "bearer":
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        params = {"service": fields.get("service", ""), "scope": f"repository:{place.repository}:pull"}
        what = f"the login of {place.registry}"
        reply = web.ask(session, fields.get("realm", ""), what=what, params=params, auth=auth)
        _check(reply, place, what, login)
        given = web.json_of(reply, what=what)
        return f"Bearer {given.get('token') or given.get('access_token') or ''}"
    if scheme.lower() == "basic" and auth:
        request = requests.Request("GET", "http://localhost", auth=auth).prepare()
        return str(request.headers["Authorization"])
    _check(answer, place, f"the registry {place.registry}", login)
    return ""


def _check(answer: requests.Response, place: Reference, what: str, login: RegistryLogin | None) -> None:
    """Raise what a status means for people."""
    status, ref = answer.status_code, f"{place.name}:{place.tag}"
    if status < 400:
        return
    if status in (401, 403):
        hint = "is image.login right, and may it read this repository?" if login else "set image.login, or image.ref"
        raise LookupFailed(f"{what} refuses us ({status})", where=ref, hint=hint)
    if status == 404:
        raise LookupFailed(f"{what} doesn't have {place.repository}:{place.tag}", where=ref, hint="check image.ref")
    raise LookupFailed(f"{what} answers {status}", where=ref, hint="try again later, or set image.fallbacks")


def _size(manifest: Any, base: str, headers: Mapping[str, str], session: requests.Session, what: str) -> int:
    """Bytes of all layers; of a list of platforms, those of linux/amd64, else of the first. 0 where none is told."""
    platforms = manifest.get("manifests") if isinstance(manifest, dict) else None
    if platforms:
        linux = [m for m in platforms if m.get("platform", {}).get("architecture") == "amd64"] or platforms
        answer = web.ask(session, base + str(linux[0].get("digest")), what=what, headers=headers)
        manifest = web.json_of(answer, what=what) if answer.ok else {}
    layers = manifest.get("layers", ()) if isinstance(manifest, dict) else ()
    return sum(int(layer.get("size", 0)) for layer in layers)
