"""All the gateways as one: told alike, asked together, and given a moment where one is being started anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from fleet.errors import FleetError, HostError
from fleet.gateway.balancer import Balancer, ServerState

T = TypeVar("T")
#: Seconds that a gateway has to come back (its process restarted, its host rebooted) before a step fails.
PATIENCE: Final = 60.0


class Balancers:
    """Every gateway of the fleet; false where there is none, and then nobody can be drained."""

    def __init__(self, gateways: Sequence[Balancer], *, patience: float = PATIENCE) -> None:
        self._gateways = gateways
        self._patience = patience
        self._one_at_a_time = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._gateways)

    def drain(self, servers: Sequence[str], *, seconds: float, who: str) -> None:
        """Every gateway sends them nothing new for ``seconds``, or until :meth:`ready`.

        Raises:
            HostError: one of them can't be told; the others were. It would go on sending, so nothing may be stopped.
        """
        failed: list[FleetError] = []
        for gateway in self._gateways:
            try:
                self._patiently(gateway, lambda g: g.drain(_known(g, servers), seconds=round(seconds), who=who))
            except FleetError as error:  # a renewal must reach the others: their drains would expire meanwhile
                failed.append(error)
        if failed:
            raise failed[0]

    def ready(self, servers: Mapping[str, str]) -> None:
        """Every gateway sends them requests again; server → its way now.

        Raises:
            HostError: one of them can't be told; the others were.
        """
        failed: list[FleetError] = []
        for gateway in self._gateways:
            try:
                self._patiently(gateway, lambda g: g.ready({name: servers[name] for name in _known(g, servers)}))
            except FleetError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def states(self) -> dict[str, Mapping[str, ServerState]]:
        """Gateway → server → its state.

        Raises:
            HostError: one can't be asked.
        """
        return {gateway.name: self._patiently(gateway, lambda g: g.states()) for gateway in self._gateways}

    def sessions(self, servers: Sequence[str]) -> int:
        """How many requests all gateways have under way at these servers."""
        return sum(s.sessions for states in self.states().values() for name, s in states.items() if name in servers)

    def unseen(self, servers: Mapping[str, str]) -> list[str]:
        """Gateways' names with the server that they don't see healthy on its way, in words."""
        return [
            f"{gateway}: {server}"
            for gateway, states in self.states().items()
            for server, way in servers.items()
            if server in states and not states[server].is_well(way)
        ]

    def serving(self) -> dict[str, bool]:
        """Server → whether every gateway that knows it may send it requests and sees it healthy.

        One whose state nobody can tell counts: else no rollout could begin before a balancer without ``state``.
        """
        found: dict[str, bool] = {}
        for states in self.states().values():
            for name, state in states.items():
                found[name] = found.get(name, True) and state.up and state.admin in ("ready", "unknown")
        return found

    def _patiently(self, gateway: Balancer, ask: Callable[[Balancer], T]) -> T:
        until = time.monotonic() + self._patience
        while True:
            try:
                with self._one_at_a_time:
                    return ask(gateway)
            except HostError:
                if time.monotonic() > until:
                    raise
                time.sleep(1)


def _known(gateway: Balancer, servers: Iterable[str]) -> list[str]:
    """Those of the servers that this gateway stands before."""
    states = gateway.states()
    return [server for server in servers if server in states]


class Lease:
    """Keeps a drain from expiring for as long as somebody is at work: renewed from a thread, inside ``with``."""

    def __init__(self, balancers: Balancers, servers: Sequence[str], *, seconds: float, who: str) -> None:
        self._balancers, self._servers, self._seconds, self._who = balancers, servers, seconds, who
        self._every = max(1.0, seconds / 4)
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on; nothing happens where it was started before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """No renewal comes after this returns: the host may be given back."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        self._thread, self._done = None, threading.Event()

    def _run(self) -> None:
        while not self._done.wait(self._every):
            try:
                self._balancers.drain(self._servers, seconds=self._seconds, who=self._who)
            except FleetError:
                continue  # the gateway's own expiry is what counts then; the next step will say that it can't be told
