"""One at work on a host at a time.

The lock is a ``flock`` that a shell on the host holds as long as our connection feeds it: when this program dies, or
the network goes, the kernel there lets go by itself, and nobody has to guess whether the owner is gone. Who holds it,
since when and what for stands beside it. ``hold`` (``lock.acquire``) keeps everybody out until it is released.
"""

from __future__ import annotations

import base64
import getpass
import json
import socket
import threading
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from types import TracebackType
from typing import Final

from fleet.errors import CommandFailed, LockHeld
from fleet.shell import PREAMBLE, quote
from fleet.transport import Held, Transport

_DIR: Final = "/run/fleet"
_LIB: Final = "/var/lib/fleet"
_KEPT: Final = "/var/lib/fleet/held"  # outlives reboots: somebody's word, not a process
_HEARTBEAT_SECONDS: Final = 20


@dataclass(frozen=True)
class Owner:
    """Who is at work, since when (UTC, ISO 8601), and on what."""

    who: str
    since: str
    doing: str

    @classmethod
    def me(cls, doing: str) -> Owner:
        """This user on this machine, now."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError):  # no name for this uid, as in some containers
            user = "unknown"
        return cls(f"{user}@{socket.gethostname()}", datetime.now(timezone.utc).isoformat(timespec="seconds"), doing)

    @classmethod
    def read(cls, text: str) -> Owner:
        """From the host's note; a damaged one names nobody."""
        try:
            fields = json.loads(base64.b64decode(text, validate=True))
            return cls(str(fields["who"]), str(fields["since"]), str(fields["doing"]))
        except (ValueError, KeyError, TypeError):
            return cls("somebody", "?", "?")

    def encoded(self) -> str:
        """As :meth:`read` reads it: base64 of JSON, one word for a shell."""
        return base64.b64encode(json.dumps(asdict(self)).encode()).decode()

    def __str__(self) -> str:
        return f"{self.who} since {self.since} ({self.doing})"


class HostLock:
    """Held inside ``with``; whoever else comes is told by whom."""

    def __init__(self, transport: Transport, owner: Owner) -> None:
        self._transport = transport
        self._owner = owner
        self._held: Held | None = None
        self._done = threading.Event()

    def __enter__(self) -> HostLock:
        self._held = self._taken()
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def _taken(self, *, again: bool = False) -> Held:
        held, line = self._transport.hold(_take(self._owner, again=again))
        if line == "released":
            held.release()
            raise LockHeld(
                "the lock was released by hand while we were at work",
                where=self._transport.name,
                hint="./inv lock.status and ./inv history tell who is there now; then run again",
            )
        if line != "locked":
            held.release()
            word, _, rest = line.partition(" ")
            by = Owner.read(rest) if word in ("held", "kept") else None
            raise LockHeld(
                f"locked by {by}" if by else f"the lock can't be taken: {line or 'no answer'}",
                where=self._transport.name,
                hint="wait, or after asking them: ./inv lock.release --hosts " + self._transport.name,
            )
        return held

    def check(self) -> None:
        """That it is still ours; a lock whose connection was lost (a reboot) is taken again.

        Raises:
            LockHeld: somebody released it by hand, or took it since.
        """
        if self._held and not self._held.alive():
            self._held.release()
            self._held = self._taken(again=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._held:
            self._held.release()

    def _beat(self) -> None:
        while not self._done.wait(_HEARTBEAT_SECONDS):
            if self._held:
                self._held.alive()  # each look is a beat; what has ended is found by check()


def status(transport: Transport) -> Owner | None:
    """Who holds the host, or None."""
    reply = transport.run(
        f"{PREAMBLE}; mkdir -p {_DIR}; if [ -f {_KEPT} ]; then echo kept $(cat {_KEPT}); exit 0; fi; "
        f"exec 9>{_DIR}/lock; flock -n 9 && echo free || echo held $(cat {_DIR}/owner)"
    )
    word, _, rest = reply.stdout.strip().partition(" ")
    return Owner.read(rest) if word in ("held", "kept") else None


def keep(transport: Transport, owner: Owner) -> None:
    """Keep everybody out of the host until :func:`release`, across reboots.

    Raises:
        LockHeld: somebody has it.
    """
    reply = transport.run(
        f"{PREAMBLE}; mkdir -p {_DIR} {_LIB}; [ -f {_KEPT} ] && {{ echo kept $(cat {_KEPT}); exit 1; }}; "
        f"exec 9>{_DIR}/lock; flock -n 9 || {{ echo held $(cat {_DIR}/owner); exit 1; }}; "
        f"printf %s {quote(owner.encoded())} > {_KEPT}.new && mv {_KEPT}.new {_KEPT}"
    )
    if not reply.ok:
        by = Owner.read(reply.stdout.strip().partition(" ")[2])
        raise LockHeld(
            f"locked by {by}",
            where=transport.name,
            hint=f"after asking them: ./inv lock.release --hosts {transport.name}",
        )


def release(transport: Transport) -> bool:
    """Let the host go, whoever holds it; True where it was held. What runs there as a unit goes on."""
    reply = transport.run(
        f"{PREAMBLE}; r=free; [ -f {_KEPT} ] && rm -f {_KEPT} && r=released; "
        f"[ -d {_DIR} ] || {{ echo $r; exit 0; }}; exec 9>{_DIR}/lock; "
        f"flock -n 9 || {{ : > {_DIR}/released; kill $(cat {_DIR}/pid) && r=released; }}; echo $r"
    )
    if not reply.ok:
        raise CommandFailed(
            "the lock could not be released", command="kill", status=reply.status, stderr=reply.stderr,
            where=transport.name, hint=f"look at {_DIR}/owner on the host",
        )  # fmt: skip
    return reply.stdout.strip() == "released"


def _take(owner: Owner, *, again: bool = False) -> str:
    released = f"if [ -f {_DIR}/released ]; then echo released; exit 1; fi" if again else ":"
    note = quote(owner.encoded())
    return f"""{PREAMBLE}; mkdir -p {_DIR}
if [ -f {_KEPT} ]; then echo kept $(cat {_KEPT}); exit 1; fi
{released}
exec 9>{_DIR}/lock
if ! flock -n 9; then echo held $(cat {_DIR}/owner); exit 1; fi
rm -f {_DIR}/released; printf %s {note} > {_DIR}/owner; echo $$ > {_DIR}/pid; echo locked
while b=$(exec 9>&-; timeout {_HEARTBEAT_SECONDS * 6} dd bs=1 count=1 2>/dev/null) && [ -n "$b" ]; do :; done
rm -f {_DIR}/owner {_DIR}/pid"""
