"""HAProxy's configuration for what a gateway serves. Pure: the same servers and keys, the same text.

A server asks for one key, and HAProxy can set a header a backend, not a server: so a model has one backend for each key
that any of its servers is given, with all of its servers in each, and the gateway's own tool keeps each server in
maintenance in all of them but one. Mostly there is one key; while it is changed there are two.

So it is with addresses: in each backend a server has a line for the address that it is to have, and one for the address
that it has now, where that is another. A line is named by server and address, never by which of the two it is: what a
reload hands on of a line called so is then true of it, before a move, in the middle, and after it.

A server that is to serve another model is behind that one at once, where its health check, which asks for the name,
keeps requests from it until it does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from fleet.gateway.balancer import OPEN, key_id, split_way
from fleet.gateway.models import Model, Server, key_ids, models_of
from fleet.secret import Secret, slow_digest
from fleet.settings import Gateway, HostSettings
from fleet.target import TEMPLATES
from fleet.templates import render

TEMPLATE: Final = TEMPLATES / "gateway" / "haproxy.cfg.j2"
#: Stands for the configuration's own id in its text until that is known.
ID: Final = "@ID@"
#: Seconds for which a client's connection is kept between two requests.
KEPT: Final = 30


@dataclass(frozen=True)
class Spec:
    """All that a gateway's configuration is made of, but for the ways that its servers have now.

    Those come as ``live``: server → its way (``MODEL:KEYID@ADDRESS:PORT``), for servers of which one is known.
    """

    models: tuple[Model, ...]
    listen: str
    stats_port: int
    slow_start: int
    connect_seconds: int
    answer_seconds: int
    clients: Mapping[str, Secret]  #: name → key; empty: the servers' own keys
    certificate: tuple[str, str] | Secret | None = None  #: files on the host, or a PEM text

    @classmethod
    def of(cls, settings: HostSettings, peers: Mapping[str, HostSettings]) -> Spec:
        """From what one gateway is told, and all hosts with instances."""
        told: Gateway = settings.gateway
        certificate: tuple[str, str] | Secret | None = None
        if told.tls:
            certificate = told.tls.pem or (told.tls.certificate or "", told.tls.key or "")
        return cls(
            models_of(told, peers), told.listen or settings.address, told.stats_port, told.slow_start,
            told.connect_seconds, told.answer_seconds, dict(told.keys), certificate,
        )  # fmt: skip

    @property
    def keys(self) -> dict[str, Secret | None]:
        """Every key that the servers are to ask for, by its id."""
        return key_ids(self.models)

    @property
    def servers(self) -> dict[str, str]:
        """Every server → the way that it is to have."""
        return {server.name: server.way for model in self.models for server in model.servers}

    def ids(self, model: Model, live: Mapping[str, str]) -> tuple[str, ...]:
        """The keys that a model's servers have now or are to have."""
        found = {key_id(server.key) for server in model.servers}
        now = (split_way(live[server.name]) for server in model.servers if server.name in live)
        found |= {key for slug, key, _ in now if slug in (model.slug, "")}
        return tuple(sorted(found)) or (OPEN,)

    def asks(self, model: Model, live: Mapping[str, str]) -> bool:
        """Whether clients of a model must show a key: where clients have keys, or its servers have one or are to."""
        return bool(self.clients) or self.ids(model, live) != (OPEN,)

    def text(self, live: Mapping[str, str], run: str) -> str:
        """The configuration, with :data:`ID` where its own id stands."""

        def model(told: Model) -> dict[str, object]:
            backends = [{"name": f"{told.slug}:{key}", "key": key} for key in self.ids(told, live)]
            return {
                "slug": told.slug, "prefix": told.prefix,
                "servers": [line for server in told.servers for line in _lines(server, live)],
                "asks": self.asks(told, live), "backends": backends, "listed": _listed(told.name),
            }  # fmt: skip

        # On a shared port the longest prefix is asked for first, and who has none takes what is left.
        ordered = sorted(self.models, key=lambda each: (each.port, -len(each.prefix), each.name))
        ports = [(port, [model(each) for each in group]) for port, group in groupby(ordered, lambda each: each.port)]
        values = {
            "id": ID, "run": run, "listen": self.listen, "ports": ports, "tls": self.certificate is not None,
            "stats_port": self.stats_port, "slow_start": self.slow_start,
            "connect_seconds": self.connect_seconds, "answer_seconds": self.answer_seconds, "kept_seconds": KEPT,
        }  # fmt: skip
        return render(TEMPLATE, values)

    def id(self, live: Mapping[str, str], run: str) -> str:
        """A name for the whole configuration, keys and certificate included, that tells nothing about them."""
        secrets = [slow_digest(f"{name}\0{key.reveal()}", "client") for name, key in sorted(self.clients.items())]
        if isinstance(self.certificate, Secret):
            secrets.append(slow_digest(self.certificate.reveal(), "certificate"))
        elif self.certificate:
            secrets.extend(self.certificate)
        return hashlib.sha256("\0".join([self.text(live, run), *secrets]).encode()).hexdigest()[:12]


def _listed(name: str) -> str:
    """A regular expression, quoted for HAProxy, for what ``/v1/models`` says of a model that is served."""
    said = re.sub(r"[][{}()*+?^$|.\\]", r"\\\g<0>", json.dumps(name, ensure_ascii=False))
    return "'" + f'"id": *{said}'.replace("'", "'\\''") + "'"


def _lines(server: Server, live: Mapping[str, str]) -> list[dict[str, str]]:
    """A server's lines in each backend: where it is to be, and where it is now."""
    *_, wanted = split_way(server.way)
    *_, now = split_way(live.get(server.name, server.way))
    found = []
    for at in sorted({wanted, now or wanted}):
        address, _, port = at.rpartition(":")
        found.append({"name": f"{server.name}:{at}", "address": address, "port": port})
    return found
