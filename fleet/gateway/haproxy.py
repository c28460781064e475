"""A host of the group ``gateway`` as a rollout sees it: one command a call, to the tool that lies there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fleet.errors import CommandFailed
from fleet.gateway.balancer import ServerState
from fleet.shell import PREAMBLE, words
from fleet.transport import Transport

TOOL: Final = "/usr/local/lib/fleet/gateway"


class HaproxyGateway:
    """A :class:`~fleet.gateway.balancer.Balancer` over the gateway's own tool."""

    def __init__(self, transport: Transport, *, tool: str = TOOL) -> None:
        self.name = transport.name
        self._transport = transport
        self._tool = tool

    def drain(self, servers: Sequence[str], *, seconds: int, who: str) -> None:
        """No new request goes to ``servers``, for ``seconds`` at most.

        Raises:
            HostError: the gateway can't be reached, or doesn't know one of them.
        """
        plain = " ".join(who.split()) or "-"
        self._do([words(self._tool, "drain", server, str(max(1, int(seconds))), plain) for server in servers], "drain")

    def ready(self, servers: Mapping[str, str]) -> None:
        """Requests may go to each server again, on that way.

        Raises:
            HostError: the gateway can't be reached, doesn't know one of them, or has no such way to it.
        """
        self._do([words(self._tool, "ready", server, way) for server, way in servers.items()], "undrain")

    def states(self) -> Mapping[str, ServerState]:
        """Every server of this gateway.

        Raises:
            HostError: the gateway can't be reached, or HAProxy doesn't run there.
        """
        found = {}
        for line in self._do([words(self._tool, "list")], "ask for states").splitlines():
            server, health, admin, sessions, expires, way, who = (*line.split(" ", 6), *[""] * 7)[:7]
            if not sessions.isdigit():
                continue
            found[server] = ServerState(
                server, health != "down", admin, int(sessions), float(expires) if float(expires or 0) else None, way,
                "" if who == "-" else who, tuple(health.split(",")[1:]),
            )  # fmt: skip
        return found

    def _do(self, commands: Sequence[str], what: str) -> str:
        if not commands:
            return ""
        script = " &&\n".join(commands)
        reply = self._transport.run(f"{PREAMBLE}\n{script}", timeout=60.0 + 5 * len(commands))
        if not reply.ok:
            said = (reply.stderr.strip() or reply.stdout.strip()).splitlines()
            raise CommandFailed(
                f"the gateway can't {what}" + (f": {said[-1].removeprefix('fleet: ')}" if said else ""),
                command=script, status=reply.status, stderr="\n".join(said[-12:]), where=self.name,
                hint="./inv gateway shows its state; provision brings it about where it isn't there yet",
            )  # fmt: skip
        return reply.stdout
