"""One host with all that the roles need to know of it: what it is told, what it is, and what was looked up for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fleet.assign import Assignment, assign
from fleet.facts import Facts
from fleet.judgement import Judgement, judge
from fleet.settings import HostSettings, Instance

#: The repository's (or installation's) root: templates/ and roles/ lie there.
ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "templates"


@dataclass(frozen=True)
class ModelFile:
    """One file of a model as its hub lists it."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All files of one revision of a model. ``content_id`` is the sha256 of this list: the same id, the same bytes.

    ``texts`` is path → content of the few small files that say what the model is; they were held against their hashes.
    """

    model: str
    revision: str
    source: str
    content_id: str
    files: tuple[ModelFile, ...]
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def weight_bytes(self) -> int | None:
        """Bytes of the weights: safetensors where there are any, else PyTorch's own; None where there are neither."""
        for ending in (".safetensors", ".bin"):
            if found := [file.size for file in self.files if file.path.endswith(ending)]:
                return sum(found)
        return None

    @cached_property
    def config(self) -> Mapping[str, Any] | None:
        """The model's ``config.json``; None where it isn't at hand, or is no JSON object."""
        return _object(self.texts.get("config.json"))

    @cached_property
    def preprocessor(self) -> Mapping[str, Any] | None:
        """The model's ``preprocessor_config.json``, which says how large images may be; None likewise."""
        return _object(self.texts.get("preprocessor_config.json"))


@dataclass(frozen=True)
class Target:
    """A host as roles see it. Frozen: a role reads it and yields resources.

    ``digests`` is image reference → sha256 digest, ``manifests`` is (model, revision) → manifest; both are resolved
    once a run for all hosts and kept in lock files beside the inventory.
    """

    name: str
    settings: HostSettings
    facts: Facts
    digests: Mapping[str, str] = field(default_factory=dict)
    manifests: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)
    ca: str = ""  #: PEM text of mirrors.ca, read on the control side
    allow_docker_restart: bool = False
    image_sizes: Mapping[str, int] = field(default_factory=dict)  #: reference → bytes of its layers as they travel
    #: All hosts of the inventory with instances, by name, where it has a gateway; else nobody.
    peers: Mapping[str, HostSettings] = field(default_factory=dict)
    gateway: bool = False  #: whether this host is one (the group ``gateway``)

    @property
    def only_gateway(self) -> bool:
        """Whether it is a gateway and nothing else: no driver, no containers, no image."""
        return self.gateway and not self.settings.instances

    @cached_property
    def assignment(self) -> Assignment:
        """Which GPUs each instance gets."""
        return assign(self.settings.instances, self.facts.gpus, self.facts.remembered_gpus)

    @cached_property
    def judgements(self) -> Mapping[str, Judgement]:
        """What sizing says of each instance that has its GPUs, by its name."""
        found = {}
        for instance in self.settings.instances:
            if gpus := self.assignment.gpus.get(instance.name):
                memory, manifest = self.facts.memory_kib, self.manifest(instance)
                found[instance.name] = judge(self.settings, instance, gpus, memory, manifest)
        return found

    @property
    def image_digest(self) -> str:
        """The digest to pull, or empty where it isn't known yet."""
        image = self.settings.image
        return image.digest or self.digests.get(image.ref, "")

    def manifest(self, instance: Instance) -> Manifest | None:
        """The manifest of an instance's model, or None where it isn't known yet."""
        return self.manifests.get((instance.model, instance.revision))


def _object(text: str | None) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
