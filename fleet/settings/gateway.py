"""What a gateway is told: HAProxy on hosts of the group ``gateway``, or executables of a balancer of the user's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from fleet.settings.base import Model, Port, SecretText

#: A key that can stand in a header and in HAProxy's map files: visible ASCII, and no comment.
KEY: Final = re.compile(r"[!-\"$-~][!-~]*")
Seconds = Annotated[int, Field(ge=1, le=7 * 86400)]


class Frontend(Model):
    """Where one served model answers: a port of its own, or a path prefix on one that several share."""

    port: Port | None = None  # the gateway's `port` where it isn't said
    prefix: str = ""

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        if value and not re.fullmatch(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", value):
            msg = "must be a path like /qwen, without a slash at its end"
            raise ValueError(msg)
        if {"v1", "health"} & set(value.split("/")):  # it would take requests for a model without a prefix
            msg = "can't have v1 or health in it: those are the servers' own paths, which come after it"
            raise ValueError(msg)
        return value


class Tls(Model):
    """The certificate: files that lie on the gateway's host, or one PEM text with the key, kept as a secret here."""

    certificate: str | None = None
    key: str | None = None
    pem: SecretText | None = None

    @model_validator(mode="after")
    def _one(self) -> Tls:
        if self.pem is not None and (self.certificate or self.key):
            msg = "say either pem, or certificate and key"
            raise ValueError(msg)
        if self.pem is None and not (self.certificate and self.key):
            msg = "wants certificate and key (files on the gateway's host), or pem (certificate and key as one secret)"
            raise ValueError(msg)
        if not all(PurePosixPath(path).is_absolute() for path in (self.certificate, self.key) if path):
            msg = "certificate and key are absolute paths on the gateway's host"
            raise ValueError(msg)
        return self


class Gateway(Model):
    """How requests reach the instances.

    ``models`` is served name → where it answers; it may be left out while one model is served. ``keys`` are the keys
    that clients may show, by a name for people; without it they are the instances' own. ``drain``, ``undrain`` and
    ``state`` are executables on this side, for who has a balancer already (docs/gateway.md).
    """

    listen: str = ""  # the host's own address where it isn't said
    port: Port = 8080
    models: Mapping[str, Frontend] = Field(default_factory=dict)
    keys: Mapping[str, SecretText] = Field(default_factory=dict)
    tls: Tls | None = None
    stats_port: Port = 8404
    slow_start: Annotated[int, Field(ge=0, le=3600)] = 30
    connect_seconds: Seconds = 3
    answer_seconds: Seconds = 3600
    drain_seconds: Seconds = 600
    drain: str | None = None
    undrain: str | None = None
    state: str | None = None
    timeout: Seconds = 60

    @field_validator("keys")
    @classmethod
    def _keys(cls, value: Mapping[str, SecretText]) -> Mapping[str, SecretText]:
        for name, key in value.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                msg = f"{name!r}: a key's name is letters, digits, dots and dashes"
                raise ValueError(msg)
            if not KEY.fullmatch(key.reveal()):
                msg = f"{name}: a key is visible ASCII without spaces, and doesn't begin with #"
                raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _executables(self) -> Gateway:
        if bool(self.drain) != bool(self.undrain) or (self.state and not self.drain):
            msg = "drain and undrain go together (and state only with them): executables on this side"
            raise ValueError(msg)
        return self

    @property
    def own_balancer(self) -> bool:
        """Whether instances stand behind a balancer that isn't ours."""
        return bool(self.drain)
