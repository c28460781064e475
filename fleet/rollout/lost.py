"""A host that is gone for a moment: what it didn't answer to the end says nothing, and is asked again.

A line that broke, a remote shell that was killed or a command that never ended gives an empty answer. Taken for the
answer "nothing is there", it would let a release in that nobody judged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from fleet.errors import CommandFailed, HostError, Unreachable
from fleet.transport import Transport

T = TypeVar("T")


def is_lost(error: HostError) -> bool:
    """Whether the line broke, or the command came to no end: nothing is known then of what it was asked."""
    return isinstance(error, Unreachable) or (isinstance(error, CommandFailed) and error.status == -1)


def until_back(
    what: Callable[[], T], transport: Transport, seconds: float, stopped: threading.Event, say: Callable[[str], None]
) -> T:
    """``what``; again, where this host was lost meanwhile, for so many seconds or until ``stopped`` is set.

    Raises:
        HostError: it isn't back, or ``what`` said no.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return what()
        except HostError as error:
            here = is_lost(error) and error.where in ("", transport.name)
            if not here or stopped.is_set() or time.monotonic() > until:
                raise
            say(f"{error.message}; waiting for it to come back")
            transport.drop()
            time.sleep(2)


def clock(transport: Transport) -> float:
    """The host's clock, in seconds since 1970.

    Raises:
        HostError: it can't be asked.
    """
    reply = transport.run("date +%s")
    if not reply.ok:
        raise CommandFailed(
            "its clock can't be read", command="date +%s", status=reply.status, stderr=reply.stderr,
            where=transport.name,
        )  # fmt: skip
    return float(reply.stdout.strip() or 0)
