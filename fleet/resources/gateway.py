"""A gateway's configuration: judged by HAProxy itself before it counts, taken over without a request lost.

::

    /etc/fleet/gateway/configs/ID/    haproxy.cfg, keys.map, clients-MODEL.map, tls.pem (0700: keys are in there)
    /etc/fleet/gateway/current        → configs/ID, the one that HAProxy reads when it starts or is reloaded
    /var/lib/fleet/gateway/servers/   a file a server: its way now, until when it is drained, by whom
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.gateway.balancer import OPEN, split_way
from fleet.gateway.config import ID, KEPT, Spec
from fleet.resource import Change, Observation, Run, Step
from fleet.resources.file import unified
from fleet.secret import Secret
from fleet.shell import quote, words

ROOT: Final = "/etc/fleet/gateway"
SERVERS: Final = "/var/lib/fleet/gateway/servers"
RUN: Final = "/run/fleet-gateway"
TOOL: Final = "/usr/local/lib/fleet/gateway"
UNIT: Final = "fleet-gateway.service"


@dataclass(frozen=True)
class Places:
    """Where a gateway's files lie."""

    root: str = ROOT
    servers: str = SERVERS
    run: str = RUN
    tool: str = TOOL


@dataclass(frozen=True)
class GatewayConfig:
    """The configuration on disk: with the keys and addresses that the inventory names, and those servers still have.

    A key that left the inventory stays, for clients too, as long as the gateway gives it to any server; an address as
    long as the server is there. The first run after that takes them away.
    """

    spec: Spec
    places: Places = Places()

    @property
    def id(self) -> str:
        """``gateway:config``."""
        return "gateway:config"

    def probe(self) -> str:
        """Which configuration counts, whether it is as written, whose keys it has, and which way each server has."""
        return f"""r={quote(self.places.root)}; c=$(readlink "$r/current" 2>/dev/null); echo "current=${{c##*/}}"
if [ -f "$r/current/haproxy.cfg" ]; then
  echo "sha256=$(sha256sum < "$r/current/haproxy.cfg" | cut -d' ' -f1)"
  echo "mode=$(stat -Lc %a "$r/current")"
  echo "rows=$(cut -d' ' -f1 "$r/current/keys.map" | sort | tr '\\n' ' ')"
  printf 'text=%s\\n' "$(base64 -w0 "$r/current/haproxy.cfg")"
fi
echo "live=$(cd {quote(self.places.servers)} 2>/dev/null && for f in *; do
  [ -f "$f" ] && read -r k x < "$f"; [ -f "$f" ] && printf '%s=%s ' "$f" "$k"; done)\""""

    def diff(self, seen: Observation) -> Change | None:
        """Create it, or update it with what differs; no request is lost by it."""
        old, live = seen.get("current"), self._live(seen)
        new = self.spec.id(live, self.places.run)
        text = self._text(live)
        unknown = set(self.spec.servers) - {name for name, way in _pairs(seen).items() if split_way(way)[2]}
        whole = (
            seen.get("sha256") == hashlib.sha256(text.encode()).hexdigest()
            and seen.get("rows").split() == sorted(self._rows(live))
            and seen.get("mode") == "700"
        )
        if old == new and whole and not unknown:
            return None
        if not old:
            return Change(self.id, "create", f"configuration {new}: {len(self.spec.servers)} servers")
        why = f"from configuration {old} to {new}" if old != new else f"configuration {new} isn't as written"
        gone = sorted(set(seen.get("rows").split()) - self._rows(live))
        if gone:
            why += f"; forgets key {', '.join(gone)}, which no server has any more"
        before = (seen.decoded("text") or "").replace(old, new)
        left = [f"{name} at {at}" for name, at in _places(before) - _places(text) if name in self.spec.servers]
        if left:
            why += f"; forgets where no server is any more: {_some(left)}"
        wanted = {name: split_way(self.spec.servers[name]) for name in live}
        moving = [name for name, way in live.items() if split_way(way)[2] != wanted[name][2]]
        if moving:
            why += f"; stays where it is until it is rolled out: {_some(moving)}"
        other = [name for name, way in live.items() if split_way(way)[0] != wanted[name][0]]
        if other:
            why += f"; gets no requests until it serves its new model: {_some(other)}"
        opened = [m.name for m in self.spec.models if _asked(before, m.slug) and not _asked(text, m.slug)]
        if opened:
            why += f"; clients need no key any more for {_some(opened)}"
        lost = self._lost(before)
        if lost:
            why += f"; would have no server until hosts are rolled out: {_some(lost)}"
        lines = unified(before, text, "haproxy.cfg") or "(keys, clients or the certificate change; they aren't shown)"
        return Change(self.id, "update", why, lines, tuple(f"model {slug}" for slug in sorted(lost)))

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Write all beside the old one, let HAProxy judge it, and only then let it count."""
        live = self._live(seen)
        new = f"{self.places.root}/configs/.new"
        config = self.spec.id(live, self.places.run)
        stage = f"umask 077; rm -rf {quote(new)} && mkdir -p {quote(new)} && chmod 0700 {quote(self.places.root)}"
        steps = [Run(stage, what="stage the gateway's configuration")]

        def write(name: str, content: str | Secret) -> None:
            data = content if isinstance(content, Secret) else content.encode()
            check = '[ -z "${stdin_size:-}" ] || [ "$(wc -c < "$f")" -eq "$stdin_size" ]'
            script = f'umask 077; f={quote(f"{new}/{name}")}; cat > "$f" && {check}'
            steps.append(Run(script, stdin=data, what=f"write {name}"))

        write("haproxy.cfg", self._text(live))
        keys = {name: key for name, key in self.spec.keys.items() if key}
        write("keys.map", Secret("".join(f"{name} {key.reveal()}\n" for name, key in sorted(keys.items()))))
        if self.spec.clients:
            clients = "".join(f"{key.reveal()} {name}\n" for name, key in sorted(self.spec.clients.items()))
            write("clients.map", Secret(clients))
        if isinstance(self.spec.certificate, Secret):
            write("tls.pem", self.spec.certificate)
        steps.append(Run(self._place(config, live), timeout=120, what=f"place the gateway's configuration {config}"))
        return steps

    def _place(self, config: str, live: dict[str, str]) -> str:
        kept = sorted(self._rows(live) - {name for name, key in self.spec.keys.items() if key})
        lines = [f"set -e; umask 077; cd {quote(f'{self.places.root}/configs/.new')}"]
        if kept:  # only this host knows their values
            lines.append(f"grep -E '^({'|'.join(kept)}) ' ../../current/keys.map >> keys.map")
        for model in self.spec.models:
            if not self.spec.asks(model, live):
                continue
            if self.spec.clients:
                lines.append(f"cp clients.map clients-{model.slug}.map")
                continue
            ids = " ".join(key for key in self.spec.ids(model, live) if key != OPEN)
            awk = 'BEGIN { n = split(ids, i, " "); for (x = 1; x <= n; x++) w[i[x]] = 1 } $1 in w { print $2, $1 }'
            lines.append(f"awk -v ids={quote(ids)} {quote(awk)} keys.map > clients-{model.slug}.map")
        if isinstance(self.spec.certificate, tuple):
            certificate, key = self.spec.certificate
            lines.append(f"ln -s {quote(certificate)} tls.pem; ln -s {quote(key)} tls.pem.key")
        ways = {**self.spec.servers, **live}
        pairs = [word for server, way in sorted(ways.items()) for word in (way, server)]
        servers = quote(self.places.servers)
        lines.append(f"""said=$(haproxy -c -C "$PWD" -f haproxy.cfg 2>&1) || {{
  printf '%s\\n' "$said" | grep -v NOTICE >&2; exit 1; }}
sync
cd ..; rm -rf ./{config}.old; [ ! -e {config} ] || mv {config} {config}.old
mv .new {config}; ln -sfn configs/{config} ../.current.new
was=$(readlink ../current || :); mv -fT ../.current.new ../current; sync
runs=$({_running(self.places)})
for d in *; do case $d in {config} | "${{was##*/}}" | "${{runs:-{config}}}") ;; *) rm -rf "./$d";; esac; done
FLEET_GATEWAY_STATE={servers} FLEET_GATEWAY_RUN={quote(self.places.run)} \\
  {words(self.places.tool, "known", *pairs)}""")
        return "\n".join(lines)

    def _lost(self, text: str) -> list[str]:
        """Models of the configuration ``text`` whose servers all serve another one or none, but for hosts that left."""
        stay = {model.slug: {server.name for server in model.servers} for model in self.spec.models}
        hosts = {server.partition(":")[0] for server in self.spec.servers}
        found = []
        for slug, servers in _behind(text).items():
            here = {server for server in servers if server.partition(":")[0] in hosts}
            if here and not servers & stay.get(slug, set()):
                found.append(slug)
        return sorted(found)

    def _live(self, seen: Observation) -> dict[str, str]:
        """Server → its way now, where the inventory has the server; with the wanted key where nobody knows its own."""
        known = {OPEN, *self.spec.keys, *seen.get("rows").split()}
        before = dict(_places(seen.decoded("text") or ""))  # of a file without an address, from before there were any
        live = {}
        for name, way in _pairs(seen).items():
            if name in self.spec.servers:
                model, key, at = split_way(way)
                wanted_model, wanted_key, wanted_at = split_way(self.spec.servers[name])
                key, at = key if key in known else wanted_key, at or before.get(name, wanted_at)
                live[name] = f"{model or wanted_model}:{key}@{at}"
        return live

    def _rows(self, live: dict[str, str]) -> set[str]:
        return {name for name in (*self.spec.keys, *(split_way(way)[1] for way in live.values())) if name != OPEN}

    def _text(self, live: dict[str, str]) -> str:
        return self.spec.text(live, self.places.run).replace(ID, self.spec.id(live, self.places.run))


@dataclass(frozen=True)
class GatewayRunning:
    """HAProxy runs with the configuration on disk: a reload, which interrupts nothing.

    Where the new one can't be taken over (an address that isn't here, a port that is held), the old one counts again.

    The process before it ends what it began, and answers one more request on each connection that its clients kept: by
    what it knows. So where servers change their way, this ends only when no such connection is left, and nobody moves
    before. (A request for a server that is gone would find another; one with a key that is gone would be refused.)
    """

    places: Places = Places()
    kept: int = KEPT

    @property
    def id(self) -> str:
        """``gateway:running``."""
        return "gateway:running"

    @property
    def follows(self) -> tuple[str, ...]:
        """The configuration, and the service that reads it."""
        return ("gateway:config", f"service:{UNIT}")

    def probe(self) -> str:
        """The configuration on disk, and the one that runs."""
        return f"""c=$(readlink {quote(f"{self.places.root}/current")} 2>/dev/null); echo "current=${{c##*/}}"
echo "running=$({_running(self.places)})\""""

    def diff(self, seen: Observation) -> Change | None:
        """Reload it."""
        running, current = seen.get("running"), seen.get("current")
        if running == current:
            return None
        return Change(self.id, "reload", f"HAProxy runs with {running or 'none'}, configuration {current} is on disk")

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Reload, wait until it runs with it, let in who may serve; else go back to the one that ran."""
        root, old = quote(self.places.root), seen.get("running")
        script = f"""set -e
c=$(readlink {root}/current); c=${{c##*/}}
runs() {{
  n=0; while [ "$({_running(self.places)})" != "$1" ]; do n=$((n + 1)); [ "$n" -lt 100 ] || return 1; sleep 0.2; done
}}
systemctl reload {UNIT} || :
if ! runs "$c"; then
  journalctl -u {UNIT} -n 20 --no-pager -o cat >&2 || :
  if [ -n {quote(old)} ] && [ -d {root}/configs/{quote(old)} ]; then
    ln -sfn configs/{quote(old)} {root}/.current.new; mv -fT {root}/.current.new {root}/current
    systemctl reload {UNIT} || :
    echo "HAProxy didn't take over configuration $c: {quote(old)} counts again" >&2
  else
    echo "HAProxy can't run with configuration $c, and there is no earlier one to go back to" >&2
  fi
  exit 1
fi
export FLEET_GATEWAY_STATE={quote(self.places.servers)} FLEET_GATEWAY_RUN={quote(self.places.run)}
{quote(self.places.tool)} sweep
cd {root}/configs; for d in *; do [ "$d" = "$c" ] || rm -rf "./$d"; done
[ -z {quote(old)} ] || [ -z "$({quote(self.places.tool)} moving)" ] || sleep {self.kept}"""
        return [Run(script, timeout=120, what=f"reload {UNIT}")]


def _running(places: Places) -> str:
    """A command that says which configuration HAProxy runs with; nothing where it doesn't run."""
    socket = quote(f"UNIX-CONNECT:{places.run}/admin.sock")
    return f"echo 'show info' | socat -t 5 - {socket} 2>/dev/null | sed -n 's/^[Dd]escription: //p'"


def _pairs(seen: Observation) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in seen.get("live").split() if "=" in pair)


def _places(text: str) -> set[tuple[str, str]]:
    """Every server of a configuration with each address that it has there: by its lines, however they are named."""
    found = set()
    for line, at in re.findall(r"^    server (\S+) (\S+)$", text, re.M):
        found.add((":".join(line.split(":")[:2]), at.replace("[", "").replace("]", "")))
    return found


def _asked(text: str, slug: str) -> bool:
    """Whether a configuration lets nobody through to a model without a key."""
    return f"(clients-{slug}.map)" in text


def _behind(text: str) -> dict[str, set[str]]:
    """Every model of a configuration, by its short name, with its servers."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"^(?=backend |frontend )", text, flags=re.M):
        if named := re.match(r"backend (\S+):\w+\n", block):
            found.setdefault(named[1], set()).update(server for server, _ in _places(block))
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
