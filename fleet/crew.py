"""The same work on many hosts at once: a bounded pool, one host's failure its own, Ctrl-C that ends cleanly."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from fleet.errors import FleetError, HostError
from fleet.transport import Transport

T = TypeVar("T")


class Crew:
    """Connections to hosts, and at most ``forks`` of them at work."""

    def __init__(self, connect: Callable[[str], Transport], forks: int = 50) -> None:
        self._connect = connect
        self._forks = max(1, forks)
        self._open: dict[str, Transport] = {}
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def transport(self, host: str) -> Transport:
        """The host's connection, opened once and kept for the run."""
        with self._lock:
            if self.stopped.is_set():
                raise HostError("not begun: the run was ended", where=host)
            if host not in self._open:
                self._open[host] = self._connect(host)
            return self._open[host]

    def each(self, hosts: Iterable[str], work: Callable[[str, Transport], T]) -> dict[str, T | FleetError]:
        """Do ``work`` on every host; a host's FleetError is its result, in the hosts' order.

        Raises:
            KeyboardInterrupt: Ctrl-C; all connections are closed first, so that nothing more is sent to any host.
        """
        names = list(hosts)
        if not names:
            return {}
        results: dict[str, T | FleetError] = {}
        pool = ThreadPoolExecutor(min(self._forks, len(names)), thread_name_prefix="host")
        try:
            futures: dict[Future[T], str] = {pool.submit(self._guarded, name, work): name for name in names}
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        results[futures[future]] = future.result()
                    except FleetError as error:
                        results[futures[future]] = error
                    except Exception as bug:  # ours, not the host's: shown whole, and the other hosts go on
                        results[futures[future]] = HostError(
                            f"unexpected {type(bug).__name__}: {bug}",
                            where=futures[future],
                            hint="this is a bug of vllm-fleet: report it with the lines above",
                            stderr="".join(traceback.format_exception(bug))[-2000:],
                        )
        except BaseException:
            self.stopped.set()
            self.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return {name: results[name] for name in names}

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            transports, self._open = list(self._open.values()), {}
        for transport in transports:
            transport.close()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _guarded(self, name: str, work: Callable[[str, Transport], T]) -> T:
        if self.stopped.is_set():
            raise HostError("not begun: the run was ended", where=name)
        return work(name, self.transport(name))
