"""The models' files: fetched by ModelScope's own client in the pulled image, checked by us, switched to at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fleet.mirrors import mirrors_of
from fleet.resource import Problem, Resource
from fleet.resources import Reach, Tools, Weights
from fleet.target import TEMPLATES, Target
from fleet.weights.hub import ENDPOINTS
from roles import vllm_image

#: ModelScope's client and what it needs, each file by its hash, for every python3 that images come with.
REQUIREMENTS: Final = TEMPLATES / "model_weights" / "requirements.txt"


def resources(target: Target) -> Iterator[Resource]:
    """The client, and each model once."""
    pulled = vllm_image.pulled_image(target)
    told = target.settings.weights
    manifests = {
        (manifest.model, manifest.content_id): manifest
        for instance in target.settings.instances
        if (manifest := target.manifest(instance))
    }
    if pulled is None or not manifests:
        return
    tools = Tools("modelscope", pulled.name, REQUIREMENTS.read_text(encoding="utf-8"), reach(target))
    if any(manifest.source == "modelscope" for manifest in manifests.values()):
        yield tools
    linked: set[str] = set()
    for manifest in manifests.values():
        endpoint = told.endpoint if told.endpoint and manifest.source == told.source else ENDPOINTS[manifest.source]
        yield Weights(
            manifest,
            told.root,
            pulled.name,
            tools.path,
            endpoint.rstrip("/"),
            told.token,
            reach(target),
            link=manifest.model not in linked,
        )
        linked.add(manifest.model)


def problems(target: Target) -> Iterator[Problem]:
    """A model whose files aren't known; a place for them that can't hold them."""
    for instance in target.settings.instances:
        if target.manifest(instance) is None:
            yield Problem(f"the files of {instance.model}@{instance.revision} aren't known", "see the look-up's error")
    root = target.settings.weights.root
    if root == "/" or root.startswith(("/proc", "/sys", "/dev", "/tmp", "/run")):  # noqa: S108 — refused, not used
        yield Problem(f"weights.root {root!r} is no place to keep models", "set it to a directory of its own")


def reach(target: Target) -> Reach:
    """How this host gets to hubs and indexes."""
    proxy = target.settings.proxy
    said = {"http_proxy": proxy.http, "https_proxy": proxy.https}
    proxies = {name: address for name, address in said.items() if address}
    if proxies:
        proxies["no_proxy"] = ",".join(proxy.no_proxy)
    return Reach(proxies, mirrors_of(target.settings).pip, target.ca)
