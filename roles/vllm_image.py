"""The container image: pulled by digest, with more pip packages on top where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fleet import registry
from fleet.mirrors import mirrors_of, pip_environment
from fleet.resource import Problem, Resource
from fleet.resources import DerivedImage, Image
from fleet.target import TEMPLATES, Target
from fleet.templates import render

#: CUDA's major version → the oldest driver branch that runs it (docs.nvidia.com/deploy/cuda-compatibility).
DRIVERS: Final = {"11": 450, "12": 525, "13": 580}


def resources(target: Target) -> Iterator[Resource]:
    """The image, and the derived one."""
    pulled = pulled_image(target)
    if pulled is None or target.only_gateway:
        return
    yield pulled
    if derived := derived_image(target, pulled):
        yield derived


def problems(target: Target) -> Iterator[Problem]:
    """A driver that is too old for the image's CUDA."""
    image = target.settings.image
    if target.only_gateway:
        return
    if target.settings.instances and not target.image_digest:
        yield Problem(f"the digest of {image.ref} isn't known", "see the look-up's error, or set image.digest")
    need = DRIVERS.get((image.cuda or "").partition(".")[0])
    if need is None:
        return
    wanted, loaded = target.settings.driver, _major(target.facts.driver_loaded)
    told = _major(wanted.version or "") or wanted.branch or 0
    hint = f"set driver.branch to {need} or more, or an image of an older CUDA"
    if wanted.manage and told:
        if told < need:
            yield Problem(f"the image's CUDA {image.cuda} needs driver {need} or newer, told is {told}", hint)
    elif loaded and loaded < need:
        level = "warning" if wanted.manage else "error"
        yield Problem(f"the image's CUDA {image.cuda} needs driver {need} or newer, loaded is {loaded}", hint, level)


def image_name(target: Target) -> str:
    """The name on the host of the image that instances run; empty while its digest isn't known."""
    pulled = pulled_image(target)
    if pulled is None:
        return ""
    derived = derived_image(target, pulled)
    return derived.name if derived else pulled.name


def pulled_image(target: Target) -> Image | None:
    """The image as it is pulled, or None while its digest isn't known."""
    image = target.settings.image
    if not target.image_digest:
        return None
    login = image.login
    return Image(
        image.ref,
        target.image_digest,
        registry.candidates(image.ref, mirrors_of(target.settings).registries, image.fallbacks),
        target.image_sizes.get(image.ref, 0),
        (registry.parse(image.ref).registry, login.username, login.password) if login else None,
    )


def derived_image(target: Target, pulled: Image) -> DerivedImage | None:
    """The image with ``image.extra_pip`` on top, or None where nothing is asked for."""
    packages = target.settings.image.extra_pip
    if not packages:
        return None
    dockerfile = render(TEMPLATES / "vllm_image" / "Dockerfile.j2", {"base": pulled.name})
    return DerivedImage(pulled.name, packages, dockerfile, tuple(_arguments(target)), target.ca)


def _arguments(target: Target) -> Sequence[str]:
    """What a build is told of the way to the packages; none of it stays in the image."""
    proxy, pip = target.settings.proxy, mirrors_of(target.settings).pip
    said = {
        **pip_environment(pip),
        "http_proxy": proxy.http,
        "https_proxy": proxy.https,
        "no_proxy": ",".join(proxy.no_proxy) if proxy.http or proxy.https else None,
    }
    return [f"{name}={value}" for name, value in said.items() if value]


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0
