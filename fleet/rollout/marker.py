"""What a host itself remembers of the rollout that is under way on it, for who comes after a lost control side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from fleet.errors import CommandFailed
from fleet.resources.serving import MARKER
from fleet.rollout.turn import At
from fleet.shell import PREAMBLE
from fleet.transport import Transport

PATH: Final = MARKER


@dataclass(frozen=True)
class Marker:
    """Whose rollout, where the host's turn is, and the way back.

    ``before`` is instance → the release that served when the turn began; ``measured`` is instance → how that release
    answered and how fast, as :mod:`fleet.rollout.measure` writes it; ``touched`` says that the switch was begun once.
    """

    run: str
    who: str
    at: At
    back: bool = False
    before: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    touched: bool = False


def write(transport: Transport, marker: Marker) -> None:
    """Put it on the host, whole or not at all, before the step that it names is begun.

    Raises:
        HostError: the host can't be reached, or its disk is full.
    """
    text = json.dumps({**asdict(marker), "at": marker.at.value}, ensure_ascii=False).encode()
    script = f"""{PREAMBLE}; set -e; mkdir -p /var/lib/fleet; cat > {PATH}.new
[ "$(wc -c < {PATH}.new)" -eq {len(text)} ] || {{ echo "the disk is full, or the line broke" >&2; exit 1; }}
sync {PATH}.new 2>/dev/null || sync; mv -f {PATH}.new {PATH}"""
    reply = transport.run(script, text)
    if not reply.ok:
        raise CommandFailed(
            "the rollout's mark can't be written", command=f"cat > {PATH}", status=reply.status,
            stderr=reply.stderr[-500:], where=transport.name, hint="is there room under /var/lib on that host?",
        )  # fmt: skip


def read(transport: Transport) -> Marker | None:
    """The host's marker; None where it has none, or one that a crash damaged (then nothing was begun after it).

    Raises:
        HostError: the host can't be asked.
    """
    reply = transport.run(f"cat {PATH} 2>/dev/null || true")
    if not reply.ok:
        raise CommandFailed(
            "the rollout's mark can't be read", command=f"cat {PATH}", status=reply.status,
            stderr=reply.stderr[-500:], where=transport.name,
        )  # fmt: skip
    try:
        told = json.loads(reply.stdout)
        return Marker(
            str(told["run"]), str(told["who"]), At(told["at"]), bool(told["back"]),
            dict(told["before"]), dict(told["measured"]), bool(told.get("touched", False)),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return None


def clear(transport: Transport) -> None:
    """The turn is over, and well."""
    transport.run(f"rm -f {PATH} {PATH}.new")
