"""What a gateway serves: each model with its servers, on which port, asked for with which keys. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.errors import Findings, InputError, SettingsError
from fleet.gateway.balancer import key_id, server_name
from fleet.secret import Secret
from fleet.settings import Gateway, HostSettings, Instance
from fleet.settings.gateway import KEY


@dataclass(frozen=True)
class Server:
    """One instance as a gateway reaches it; ``key`` is what the inventory says that it asks for."""

    name: str
    address: str
    port: int
    key: Secret | None
    model: str

    @property
    def way(self) -> str:
        """How the inventory wants it to be reached: ``MODEL:KEYID@ADDRESS:PORT``."""
        return f"{slug(self.model)}:{key_id(self.key)}@{self.address}:{self.port}"


@dataclass(frozen=True)
class Model:
    """One served name: where it answers, and its servers. ``slug`` is its name in HAProxy's alphabet."""

    name: str
    slug: str
    port: int
    prefix: str
    servers: tuple[Server, ...]


def models_of(told: Gateway, peers: Mapping[str, HostSettings]) -> tuple[Model, ...]:
    """All models that the peers serve on the network, by name.

    A model that ``told.models`` doesn't name is on the gateway's ``port``: :func:`problems_of` sees to it that this can
    be so for one only.
    """
    servers: dict[str, list[Server]] = {}
    for host, settings in sorted(peers.items()):
        for instance in settings.instances:
            if address := reached_at(settings, instance):
                name, model = server_name(host, instance.name), instance.served_name
                servers.setdefault(model, []).append(Server(name, address, instance.port, instance.api_key, model))
    found = []
    for name in sorted({*servers, *told.models}):
        where = told.models.get(name)
        port = where.port if where and where.port else told.port
        found.append(Model(name, slug(name), port, where.prefix if where else "", tuple(servers.get(name, ()))))
    return tuple(found)


def reached_at(settings: HostSettings, instance: Instance) -> str:
    """The address at which other hosts reach an instance; empty where it listens to its own host only."""
    return _reached(instance.listen, settings.address)


def way_of(about: Mapping[str, Any], address: str) -> str:
    """The way to a release's server, by its release.json; ``address`` is its host's, for who listens everywhere.

    The key's id alone where the release doesn't say where it listens.
    """
    key, port, model = str(about.get("key") or ""), about.get("port"), about.get("served_name") or about.get("model")
    at = _reached(str(about.get("listen") or "localhost"), address)
    return f"{slug(str(model))}:{key}@{at}:{port}" if model and key and at and port else key


def _reached(listen: str, own: str) -> str:
    try:
        address = ipaddress.ip_address(listen)
    except ValueError:
        return "" if listen == "localhost" else listen
    if address.is_loopback:
        return ""
    return own if address.is_unspecified else listen


def slug(name: str) -> str:
    """A name in HAProxy's alphabet, short enough for a file: as it is, or with its rest told by a hash."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:160]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def check_gateways(gateways: Mapping[str, HostSettings], peers: Mapping[str, HostSettings]) -> list[str]:
    """Warnings about what the gateways can't do for the peers.

    Raises:
        Findings: what can't be: two models on one port, a key that can't stand in a header, no address.
    """
    errors: dict[str, InputError] = {}
    warnings: list[str] = []
    for name, settings in gateways.items():
        for error in problems_of(name, settings, peers):
            errors.setdefault(error.message, error)
    if errors:
        raise Findings(list(errors.values()))
    if not gateways:
        return []
    for host, settings in peers.items():
        for instance in settings.instances:
            if not reached_at(settings, instance):
                warnings.append(
                    f"{host}: instance {instance.name!r} listens on {instance.listen}: no gateway reaches it"
                )
    keyless = [f"{h}:{i.name}" for h, s in peers.items() for i in s.instances if not i.api_key and reached_at(s, i)]
    if keyless:
        warnings.append(f"without an api_key anybody on the fleet's network can use {_some(keyless)}")
    return warnings


def problems_of(name: str, settings: HostSettings, peers: Mapping[str, HostSettings]) -> Iterator[InputError]:
    """What is wrong with one gateway's settings, seen against what it stands before."""
    told = settings.gateway
    if not told.listen and not settings.address:
        yield SettingsError(
            f"the gateway {name} must listen on its own address, and its ansible_host is none",
            where=name, hint="give it gateway.listen",
        )  # fmt: skip
    models = models_of(told, peers)
    at, wide = told.listen or settings.address, ("0.0.0.0", "::")  # noqa: S104 — compared, not bound to
    own = [i for i in settings.instances if at in wide or i.listen in (at, *wide)]
    if len(models) > 1:
        for model in models:
            if model.name not in told.models:
                hint = "gateway.models: {" + ", ".join(f"{m.name!r}: {{port: …}}" for m in models) + "}"
                words = f"several models are served, and gateway.models doesn't say the port of {model.name!r}"
                yield SettingsError(words, where=name, hint=hint)
    places: dict[str, str] = {}
    for model in models:
        for place in (f"port {model.port}{model.prefix and ' ' + model.prefix}", f"the short name {model.slug}"):
            if (other := places.setdefault(place, model.name)) != model.name:
                hint = "give one of them another port, or a prefix, in gateway.models"
                yield SettingsError(f"{other!r} and {model.name!r} both want {place}", where=name, hint=hint)
        for instance in own:
            if instance.port in (model.port, told.stats_port):
                words = f"port {instance.port} is to be the gateway's and that of its own instance {instance.name!r}"
                yield SettingsError(words, where=name, hint="give one of them another, under `gateway` or `instances`")
        if model.port == told.stats_port:
            words = f"{model.name!r} is on port {model.port}, which is the statistics'"
            yield SettingsError(words, where=name, hint="set gateway.stats_port to another")
        yield from _keys(name, told, settings, model)


def _keys(name: str, told: Gateway, settings: HostSettings, model: Model) -> Iterator[InputError]:
    for server in model.servers:
        if server.key and not KEY.fullmatch(server.key.reveal()):
            words = f"the api_key of {server.name} can't stand in a header: visible ASCII, no spaces, no # at its start"
            yield SettingsError(words, where=server.name.partition(":")[0], hint="make another one")
    everywhere = told.listen in ("0.0.0.0", "::")  # noqa: S104 — this is the check against it
    if everywhere and not told.keys and not any(server.key for server in model.servers):
        words = f"gateway.listen: {told.listen} without a key would let anybody use {model.name!r}"
        yield SettingsError(words, where=name, hint="set gateway.keys, or an api_key for its instances")


def key_ids(models: Sequence[Model]) -> dict[str, Secret | None]:
    """Every key that the inventory's servers ask for, by its id."""
    return {key_id(server.key): server.key for model in models for server in model.servers}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
