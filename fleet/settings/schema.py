"""The schema of all that a host may be told: reserved top-level variables, each of them closed to unknown keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fleet.settings.base import Model, Name, Port, SecretText
from fleet.settings.gateway import Gateway
from fleet.settings.hooks import Hook
from fleet.settings.rollout import Rollout


def image_versions(ref: str) -> dict[str, str | None]:
    """VLLM's and CUDA's version as the image's tag tells them, None where it doesn't.

    Known forms: Aliyun's ``0.8.2-pytorch2.6-cu124-20250328`` (also ``cuda12.4``), upstream's ``v0.8.2``.
    """
    tag = ref.rsplit("/", 1)[-1].partition("@")[0].partition(":")[2]
    vllm = re.match(r"v?(\d+\.\d+\.\d+(?:\.\d+|\.post\d+)?)(?=-|$)", tag)
    cuda = re.search(r"-cu(?:da)?(\d+)\.?(\d)(?=-|$)", tag)
    return {"vllm": vllm[1] if vllm else None, "cuda": f"{cuda[1]}.{cuda[2]}" if cuda else None}


_EXAMPLE = {"vllm": '"0.8.2"', "cuda": '"12.4"'}


def _gpus(value: object) -> object:
    if isinstance(value, list):
        value = tuple(value)
    if value == "all" or (type(value) is int and value >= 1):
        return value
    if isinstance(value, tuple) and value and all(type(index) is int and index >= 0 for index in value):
        if len(set(value)) == len(value):
            return value
        msg = "names one GPU twice"
        raise ValueError(msg)
    msg = f"must be 'all', a count from 1, or a list of indexes from 0, not {value!r}"
    raise ValueError(msg)


class Driver(Model):
    """The NVIDIA driver. ``manage: false`` respects what is there and only checks it."""

    manage: bool = True
    branch: int | None = None
    flavour: Literal["auto", "open", "proprietary"] = "auto"
    version: str | None = None
    reboot: Literal["never", "when-needed"] = "never"

    @field_validator("branch", mode="before")
    @classmethod
    def _branch(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdigit() else value


class Runtime(Model):
    """Docker and how containers get GPUs."""

    package: Literal["respect", "docker-ce", "docker.io", "moby"] = "respect"
    gpu_access: Literal["auto", "cdi", "hook"] = "auto"
    data_root: str = "/var/lib/docker"
    registry_mirrors: tuple[str, ...] = Field(default=(), strict=False)
    toolkit_version: str | None = None


class SigningKey(Model):
    """The key that an own mirror signs with: where its file lies, and the fingerprint that it must have."""

    url: str
    fingerprint: Annotated[str, Field(pattern=r"^[0-9A-F]{40}$")]

    @field_validator("fingerprint", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return value.replace(" ", "").upper() if isinstance(value, str) else value


class Mirrors(Model):
    """Where packages, images and models come from. ``profile`` names a row of the shipped data; the rest overrides it.

    ``docker``, ``cuda`` and ``toolkit`` are roots of trees laid out as the vendor's; ``keys`` says, by the same names,
    which key an own mirror signs with where it isn't the vendor's. ``registries`` is registry → its mirror. ``ca`` is a
    PEM file on the control side that the hosts come to trust for these mirrors.
    """

    profile: Literal["global", "cn"] = "global"
    docker: str | None = None
    cuda: str | None = None
    toolkit: str | None = None
    pip: str | None = None
    registries: Mapping[str, str] = Field(default_factory=dict)
    keys: Mapping[Literal["docker", "cuda", "toolkit"], SigningKey] = Field(default_factory=dict)
    ca: str | None = None


class Proxy(Model):
    """Proxies for packages, Docker, pip and hubs."""

    http: str | None = None
    https: str | None = None
    no_proxy: tuple[str, ...] = Field(default=("localhost", "127.0.0.1", "::1"), strict=False)


class RegistryLogin(Model):
    """Who we are at the image's registry; the password travels by a temporary Docker configuration only."""

    username: str
    password: SecretText


class Image(Model):
    """The container image. ``vllm`` and ``cuda`` are read from tags of a known form, else they must be said."""

    ref: str = "egs-registry.cn-hangzhou.cr.aliyuncs.com/egs/vllm:0.8.2-pytorch2.6-cu124-20250328"
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    vllm: str | None = None
    cuda: str | None = None
    entrypoint: tuple[str, ...] = Field(default=("vllm", "serve"), strict=False)
    extra_pip: tuple[str, ...] = Field(default=(), strict=False)
    fallbacks: tuple[str, ...] = Field(default=(), strict=False)
    login: RegistryLogin | None = None

    @model_validator(mode="after")
    def _versions(self) -> Image:
        found = image_versions(self.ref)
        for field in ("vllm", "cuda"):
            if getattr(self, field) is None:
                if found[field] is None and not (field == "cuda" and found["vllm"]):
                    example = _EXAMPLE[field]
                    msg = f"image.{field} can't be read from the tag of {self.ref!r}: say it, e.g. {field}: {example}"
                    raise ValueError(msg)
                object.__setattr__(self, field, found[field])
        return self


class Weights(Model):
    """Where models come from and lie."""

    root: str = "/srv/models"
    source: Literal["modelscope", "huggingface"] = "modelscope"
    endpoint: str | None = None
    token: SecretText | None = None

    @field_validator("root")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not PurePosixPath(value).is_absolute():
            msg = "must be an absolute path"
            raise ValueError(msg)
        return value.rstrip("/") or "/"


class Instance(Model):
    """One vLLM server on some GPUs of a host: one systemd unit, one container."""

    name: Name
    model: Annotated[str, Field(min_length=1)]
    revision: str = "master"
    served_name: str = ""
    port: Port = 0  # given out from 8000 in list order where it isn't said
    listen: str = "127.0.0.1"
    gpus: Annotated[Literal["all"] | int | tuple[int, ...], BeforeValidator(_gpus)] = ()
    args: Mapping[str, Any] = Field(default_factory=dict)
    env: Mapping[str, Any] = Field(default_factory=dict)
    api_key: SecretText | None = None
    auto: Literal["latency", "throughput", "context"] = "throughput"

    @field_validator("env")
    @classmethod
    def _env(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for name, item in value.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)):
                msg = f"{name!r} is no name of an environment variable"
                raise ValueError(msg)
            if name == "CUDA_VISIBLE_DEVICES":
                msg = "CUDA_VISIBLE_DEVICES beside gpus: say which GPUs by `gpus` alone"
                raise ValueError(msg)
            if isinstance(item, (dict, list)) or item is None:
                msg = f"{name}: an environment variable is a text or a number"
                raise ValueError(msg)
        return value

    @field_validator("name")
    @classmethod
    def _free(cls, value: str) -> str:
        if value in ("gateway", "gateway-sweep"):
            msg = f"{value!r} is the name of a unit of the gateway's: give the instance another"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _exposed(self) -> Instance:
        if not self.served_name:
            object.__setattr__(self, "served_name", self.model)
        if self.listen in ("0.0.0.0", "::") and not self.api_key:  # noqa: S104 — this is the check against it
            msg = f"listen: {self.listen} without an api_key would let anybody use the GPUs"
            raise ValueError(msg)
        return self


class HostSettings(Model):
    """All that one host is told, with defaults filled in.

    ``address`` isn't told under this name: it is the host's own address on the fleet's network (its ``ansible_host``),
    empty where that is a name.
    """

    address: str = ""

    driver: Driver = Driver()
    runtime: Runtime = Runtime()
    mirrors: Mirrors = Mirrors()
    proxy: Proxy = Proxy()
    image: Image = Image()
    weights: Weights = Weights()
    instances: tuple[Instance, ...] = Field(default=(), strict=False)
    vllm_args: Mapping[str, Any] = Field(default_factory=dict)
    vllm_env: Mapping[str, Any] = Field(default_factory=dict)
    gateway: Gateway = Gateway()
    monitoring: Mapping[str, Any] = Field(default_factory=dict)
    site: str = ""
    rollout: Rollout = Rollout()
    hooks: tuple[Hook, ...] = Field(default=(), strict=False)


RESERVED = tuple(name for name in HostSettings.model_fields if name != "address")
