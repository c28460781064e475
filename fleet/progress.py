"""What is under way, for people, on stderr: one line an event, and never silent for longer than five seconds."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final

from fleet import report

_SILENCE_SECONDS: Final = 4.0
_SAME_LINE_SECONDS: Final = 2.0


class Progress:
    """Lines like ``gpu-01  image: pulling, 43 %``; inside ``with``, a word from time to time on who is waited for."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._lock = threading.Lock()
        self._now: dict[str, tuple[str, float]] = {}
        self._last = time.monotonic()
        self._said: dict[str, float] = {}
        self._done = threading.Event()
        self._width = 0

    def doing(self, host: str, what: str) -> None:
        """``host`` is now at ``what``: said at once, then again if it takes long."""
        with self._lock:
            self._now[host] = (what, time.monotonic())
        self.say(host, what)

    def detail(self, host: str, text: str) -> None:
        """A step forward within what the host is at; at most one line each two seconds a host."""
        now = time.monotonic()
        with self._lock:
            if now - self._said.get(host, 0) < _SAME_LINE_SECONDS:
                return
            self._said[host] = now
            what = self._now.get(host, ("", now))[0]
        self.say(host, f"{what}: {text}" if what else text)

    def finished(self, host: str, words: str = "") -> None:
        """``host`` is done with what it was at."""
        with self._lock:
            self._now.pop(host, None)
        if words:
            self.say(host, words)

    def say(self, host: str, text: str) -> None:
        """One line, whatever is under way."""
        if self._quiet:
            return
        with self._lock:
            self._width = max(self._width, len(host))
            self._last = time.monotonic()
            report.note(f"{host.ljust(self._width)}  {text}")

    def __enter__(self) -> Progress:
        threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def _tick(self) -> None:
        while not self._done.wait(1.0):
            now = time.monotonic()
            with self._lock:
                silent = now - self._last > _SILENCE_SECONDS
                at = sorted(self._now.items(), key=lambda item: item[1][1])
            if silent and at and not self._quiet:
                host, (what, since) = at[0]
                others = f" (and {len(at) - 1} more)" if len(at) > 1 else ""
                self.say(host, f"still at {what}, {now - since:.0f} s{others}")
