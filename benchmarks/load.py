"""A steady mixed load on the gateways, each answer checked to be whole: what a rollout must not lose a request of.

    python -m benchmarks.load --url http://g1:8080 --url http://g2:8080 --model NAME --key KEY
                              [--workers 12 | --rate 50] [--seconds 600] [--requests N] [--fail-over] [--out FILE]

With ``--workers`` each asks again when it has its answer (closed loop); with ``--rate`` so many requests begin each
second, however long they take (open loop). Half of the connections are kept, half are new each time. A worker stays
with its gateway; with ``--fail-over`` it goes to the next one where a connection can't be made. It ends after
--seconds, --requests, or at SIGTERM or SIGINT, when what is under way has come to its end. ``--out`` gets a line of
JSON for each failure (with ``--all``, for each request), standard output the summary. Exit 1 where a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks import load_mix
from benchmarks.load_http import Connection, Endpoint, Failed, Got

#: After a failure: an outage is counted at this pace by each worker, not as fast as refusals come.
PAUSE_SECONDS = 0.2


@dataclass
class Tally:
    """What came of the requests so far."""

    out: IO[str] | None = None
    every: bool = False
    began: float = field(default_factory=time.time)
    requests: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    by_url: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    tokens: int = 0
    moved: int = 0

    def good(self, kind: str, url: str, started: float, got: Got) -> None:
        """Count a whole answer."""
        self.requests[kind] += 1
        self.tokens += got.tokens
        self.seconds.append(got.last - started)
        self.first.append(got.first - started)
        if self.every:
            self._write(kind, url, got.last - started, tokens=got.tokens, first=round(got.first - started, 4))

    def bad(self, kind: str, url: str, started: float, failed: Failed) -> None:
        """Count one that failed, and write down what is known of it."""
        self.requests[kind] += 1
        self.failed[kind] += 1
        self.errors[failed.kind] += 1
        self.by_url[url] += 1
        self._write(kind, url, time.monotonic() - started, error=failed.kind, words=str(failed)[:300])

    def _write(self, kind: str, url: str, seconds: float, **more: Any) -> None:
        if self.out is not None:
            # `at` is when it began, as others' clocks have it: faults are written down by the same one.
            line = {
                "at": round(time.time() - seconds, 3),
                "kind": kind,
                "url": url,
                "seconds": round(seconds, 4),
                **more,
            }
            self.out.write(json.dumps(line) + "\n")
            self.out.flush()

    def summary(self) -> dict[str, Any]:
        """All of it in numbers; seconds of those that were answered."""
        took = time.time() - self.began
        total = self.requests.total()
        return {
            "requests": total, "failed": self.failed.total(), "errors": dict(self.errors),
            "failed_by_url": dict(self.by_url), "moved": self.moved, "tokens": self.tokens,
            "by_kind": {k: {"requests": n, "failed": self.failed[k]} for k, n in sorted(self.requests.items())},
            "p50": quantile(self.seconds, 0.5), "p99": quantile(self.seconds, 0.99),
            "first_p50": quantile(self.first, 0.5), "first_p99": quantile(self.first, 0.99),
            "began": round(self.began, 3), "seconds": round(took, 1), "rate": round(total / max(took, 0.001), 1),
        }  # fmt: skip


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that ``share`` of them don't exceed; None where there is none."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)


class Load:
    """Requests on ``endpoints`` until :meth:`stop`, ``limit`` requests, or for ever."""

    def __init__(
        self, endpoints: Sequence[Endpoint], asks: list[list[load_mix.Ask]], tally: Tally, *,
        limit: int = 0, at_least: int = 0, fail_over: bool = False, patience: float = 120.0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.endpoints, self.asks, self.tally = endpoints, asks, tally
        self.limit, self.at_least, self.fail_over, self.patience = limit, at_least, fail_over, patience
        self._drawn = random.Random(seed)
        self._begun = 0
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Begin no more; where it is to ask at least so many, when it has."""
        if self._begun >= self.at_least:
            self._stop.set()
        self.limit = self.limit or self.at_least

    def _more(self) -> bool:
        if self._stop.is_set() or (self.limit and self._begun >= self.limit):
            self._stop.set()  # whoever waits needn't
            return False
        self._begun += 1
        return True

    async def closed(self, workers: int) -> None:
        """``workers`` that ask one request after another."""
        await asyncio.gather(*(self._worker(number) for number in range(workers)))

    async def _worker(self, number: int) -> None:
        connections = [Connection(endpoint) for endpoint in self.endpoints]
        # Workers 0 and 1 go to the first gateway, 2 and 3 to the second: each gets kept connections and new ones.
        first = number // 2 % len(connections)
        while self._more():
            if not await self._request(connections, first, keep=number % 2 == 0):
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), PAUSE_SECONDS)
        for connection in connections:
            connection.close()

    async def open(self, rate: float) -> None:
        """``rate`` requests that begin each second; connections that are free are used again by half of them."""
        running: set[asyncio.Task[None]] = set()
        idle: list[list[Connection]] = []
        started = time.monotonic()
        for number in itertools.count():
            wait = started + number / rate - time.monotonic()
            if wait > 0:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), wait)
            if not self._more():
                break
            task = asyncio.create_task(self._one(number, idle))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        for connection in itertools.chain(*idle):
            connection.close()

    async def _one(self, number: int, idle: list[list[Connection]]) -> None:
        keep = number % 2 == 0
        kept = idle.pop() if keep and idle else [Connection(endpoint) for endpoint in self.endpoints]
        await self._request(kept, number // 2 % len(kept), keep=keep)
        if keep:
            idle.append(kept)

    async def _request(self, connections: Sequence[Connection], first: int, *, keep: bool) -> bool:
        """One request, counted; whether it was answered."""
        ask = load_mix.draw(self.asks, self._drawn)
        started = time.monotonic()
        order = [connections[(first + n) % len(connections)] for n in range(len(connections))]
        for connection in order:
            try:
                got = await asyncio.wait_for(connection.ask(ask, keep=keep), self.patience)
            except asyncio.TimeoutError:
                failed = Failed("timeout", f"no whole answer in {self.patience:.0f} s")
            except Failed as error:
                failed = error
            else:
                self.tally.good(ask.kind, connection.endpoint.url, started, got)
                return True
            if failed.kind == "connect" and self.fail_over and connection is not order[-1]:
                self.tally.moved += 1  # it reached nobody: the next gateway may have it
                continue
            self.tally.bad(ask.kind, connection.endpoint.url, started, failed)
            break
        return False


async def _run(told: argparse.Namespace, out: IO[str] | None) -> dict[str, Any]:
    tally = Tally(out, told.all)
    asks = load_mix.make(told.model, tokens=told.tokens, seed=told.seed, images=not told.no_images)
    endpoints = [Endpoint(url, told.key) for url in told.url]
    load = Load(
        endpoints, asks, tally, limit=told.requests, at_least=told.at_least, fail_over=told.fail_over,
        patience=told.patience, seed=told.seed,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, load.stop)
    if told.seconds:
        loop.call_later(told.seconds, load.stop)
    await (load.open(told.rate) if told.rate else load.closed(told.workers))
    return tally.summary()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="benchmarks.load", description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--url", action="append", required=True, help="A gateway (repeatable)")
    made.add_argument("--model", required=True, help="The served name")
    made.add_argument("--key", default="", help="What clients show")
    made.add_argument("--workers", type=int, default=12)
    made.add_argument("--rate", type=float, default=0.0, help="Requests that begin each second, instead of workers")
    made.add_argument("--seconds", type=float, default=0.0)
    made.add_argument("--requests", type=int, default=0)
    made.add_argument("--at-least", type=int, default=0, help="Told to end before that, go on until there are so many")
    made.add_argument("--tokens", type=int, default=16, help="At most so many in an answer, at least half of it")
    made.add_argument("--patience", type=float, default=120.0, help="Seconds for one answer")
    made.add_argument("--fail-over", action="store_true")
    made.add_argument("--no-images", action="store_true")
    made.add_argument("--all", action="store_true", help="A line for each request, not only for failures")
    made.add_argument("--out", type=Path)
    made.add_argument("--seed", type=int, default=0)
    return made


def main(words: Sequence[str]) -> int:
    """Run it; 1 where a request failed."""
    told = parser().parse_args(words)
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(told.out.open("a")) if told.out else None
        summary = asyncio.run(_run(told, out))
    print(json.dumps(summary))
    return 1 if summary["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
