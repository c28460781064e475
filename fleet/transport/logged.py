"""A transport that writes down all that is asked and answered, masked, one file a host and run."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from fleet import report
from fleet.errors import FleetError
from fleet.secret import mask
from fleet.transport.base import Held, Reply, Transport


class LoggedTransport:
    """Passes everything on to ``inner`` and appends it to ``log`` (0600). Standard input is counted, never written."""

    def __init__(self, inner: Transport, log: Path) -> None:
        self.name = inner.name
        self._inner = inner
        self._log = log

    @property
    def commands(self) -> int:
        """How many commands went to the host."""
        return self._inner.commands

    @commands.setter
    def commands(self, value: int) -> None:
        self._inner.commands = value

    def run(self, command: str, stdin: bytes | None = None, *, timeout: float = 60.0) -> Reply:
        """Run and write down, errors too."""
        given = f" ({len(stdin)} bytes of input)" if stdin else ""
        try:
            reply = self._inner.run(command, stdin, timeout=timeout)
        except FleetError as error:
            self.write(f"$ {command}{given}\n! {error.kind}: {error}\n")
            raise
        self.write(f"$ {command}{given}\n{reply.stdout}{reply.stderr}\n= {reply.status}\n")
        return reply

    def hold(self, command: str) -> tuple[Held, str]:
        """Hold and write down."""
        held, line = self._inner.hold(command)
        self.write(f"$ {command} (held)\n{line}\n")
        return held, line

    def write(self, text: str) -> None:
        """Append ``text`` with the time before it and secrets masked. A full disk here is no reason to leave a host."""
        stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        with contextlib.suppress(OSError):
            self._log.touch(mode=0o600, exist_ok=True)
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"[{stamp}]\n{mask(text, report.secrets)}\n")

    def drop(self) -> None:
        """Drop the inner transport's connection."""
        self._inner.drop()

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()

    def __enter__(self) -> LoggedTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
