"""Targets for tests of roles: a host with two A10, Docker 26 and one instance, unless told otherwise."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from fleet.facts import Facts, Gpu
from fleet.settings import HostSettings
from fleet.target import Manifest, ModelFile, Target
from fleet.weights.hub import content_id

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
DIGEST = "sha256:" + "ab" * 32
FILES = (ModelFile("config.json", 1373, "c" * 64), ModelFile("model.safetensors", 16 * 10**9, "d" * 64))
MANIFEST = Manifest(MODEL, "master", "modelscope", content_id(FILES), FILES)


def gpu(index: int, name: str = "NVIDIA A40", capability: str = "8.6", memory_mib: int = 46068) -> Gpu:
    """One GPU, of 45 GiB unless told otherwise."""
    return Gpu(index, f"GPU-{index}", name, f"00000000:0{index}:00.0", memory_mib, 0, "580.95.05", capability, "[N/A]")


def facts(**known: Any) -> Facts:
    """Facts that are empty but for what is told."""
    empty = {"str": "", "int": 0, "bool": False}
    required = [f for f in fields(Facts) if f.default is MISSING and f.default_factory is MISSING]
    return Facts(**{**{f.name: empty.get(str(f.type), ()) for f in required}, **known})


def instance(name: str = "qwen", port: int = 8000, **more: Any) -> dict[str, Any]:
    """An instance as settings have it."""
    return {"name": name, "model": MODEL, "port": port, "gpus": "all", **more}


def target(*instances: dict[str, Any], known: dict[str, Any] | None = None, **settings: Any) -> Target:
    """A host that is told ``instances`` (one by default) and ``settings``; ``known`` are its facts."""
    told = HostSettings.model_validate({**settings, "instances": instances or (instance(),)})
    base = {"docker_version": "26.1.5", "driver_loaded": "580.95.05", "gpus": (gpu(0), gpu(1))}
    return Target(
        "host", told, facts(**{**base, **(known or {})}), {told.image.ref: DIGEST}, {(MODEL, "master"): MANIFEST}
    )
