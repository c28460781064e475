"""A balancer that was there before us, by executables of its owner on this side (contract: docs/gateway.md)."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.errors import CommandFailed
from fleet.gateway.balancer import ServerState, split_way
from fleet.gateway.models import reached_at
from fleet.settings import Gateway, HostSettings
from fleet.target import ROOT

#: What `state` may print of a server.
ADMIN: Final = ("ready", "drain", "maint")


@dataclass(frozen=True)
class Behind:
    """One server behind such a balancer."""

    server: str
    address: str
    port: int
    model: str

    @classmethod
    def of(cls, host: str, settings: HostSettings) -> tuple[Behind, ...]:
        """All of a host's."""
        return tuple(
            cls(f"{host}:{i.name}", reached_at(settings, i) or i.listen, i.port, i.served_name)
            for i in settings.instances
        )


class ExecutableBalancer:
    """A :class:`~fleet.gateway.balancer.Balancer` of three programs; each is run once a server."""

    def __init__(self, told: Gateway, servers: Sequence[Behind]) -> None:
        self.name = str(told.drain)
        self._told = told
        self._servers = {each.server: each for each in servers}

    def drain(self, servers: Sequence[str], *, seconds: int, who: str) -> None:
        """Run ``drain`` for each.

        Raises:
            HostError: it isn't there, says no, or doesn't end in time.
        """
        for server in servers:
            self._run(self._told.drain, server, {"FLEET_SECONDS": str(int(seconds)), "FLEET_WHO": who})

    def ready(self, servers: Mapping[str, str]) -> None:
        """Run ``undrain`` for each.

        Raises:
            HostError: it isn't there, says no, or doesn't end in time.
        """
        for server, way in servers.items():
            _, key, at = split_way(way)
            address, _, port = at.rpartition(":")
            where = {"FLEET_ADDRESS": address, "FLEET_PORT": port} if at else {}
            self._run(self._told.undrain, server, {"FLEET_KEY_ID": key, **where})

    def states(self) -> Mapping[str, ServerState]:
        """What ``state`` prints of each; without that program nothing is known, and all count as up.

        Raises:
            HostError: it fails, or prints something else than it should.
        """
        return {server: self._state(server) for server in self._servers}

    def _state(self, server: str) -> ServerState:
        if not self._told.state:
            return ServerState(server, True, "unknown", 0, None, "", "")
        said = self._run(self._told.state, server, {})
        health, admin, sessions = (*said.split(), "", "", "")[:3]
        if health not in ("up", "down") or admin not in ADMIN or not sessions.isdigit():
            raise CommandFailed(
                f"{self._told.state} printed {said.strip()[:80]!r} of {server}", command=str(self._told.state),
                status=0, where=self.name, hint="one line: up or down, ready or drain or maint, requests under way",
            )  # fmt: skip
        return ServerState(server, health == "up", admin, int(sessions), None, "", "")

    def _run(self, program: str | None, server: str, more: Mapping[str, str]) -> str:
        path = Path(str(program)).expanduser()
        path = path if path.is_absolute() else ROOT / path
        host, _, instance = server.partition(":")
        behind = self._servers.get(server) or Behind(server, "", 0, "")
        told = {
            "FLEET_SERVER": server, "FLEET_HOST": host, "FLEET_INSTANCE": instance,
            "FLEET_ADDRESS": behind.address, "FLEET_PORT": str(behind.port or ""), "FLEET_MODEL": behind.model,
        }  # fmt: skip
        try:
            process = subprocess.Popen(
                [str(path), server], env={**os.environ, **told, **more}, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise self._failed(f"{path} can't be run: {error.strerror}", path, 126, "") from error
        with process:
            try:
                out, err = process.communicate(timeout=self._told.timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with its children: they would hold its output open
                raise self._failed(f"no end after {self._told.timeout} s", path, -1, "") from None
        if process.returncode:
            last = (err.strip() or out.strip()).splitlines()[-1:] or [f"it ended with {process.returncode}"]
            raise self._failed(last[0], path, process.returncode, err)
        return out

    def _failed(self, words: str, path: Path, status: int, stderr: str) -> CommandFailed:
        return CommandFailed(
            f"{path.name}: {words}", command=str(path), status=status, stderr=stderr[-2000:], where=self.name,
            hint="it is run once a server, named by its argument and FLEET_…; 0 is done (docs/gateway.md)",
        )  # fmt: skip
