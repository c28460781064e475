"""All of a host's probes as one script, and the framed answer as one observation a resource. Pure.

Each probe runs in a subshell of its own by ``eval``, so that a syntax error, an ``exit`` or a crash in one names
itself and spoils no other. The frames carry a nonce made for this run, so that no file's content can pass for one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence

from fleet.errors import CommandFailed
from fleet.resource import Observation, Resource
from fleet.shell import PREAMBLE, quote


def new_nonce() -> str:
    """16 random hexadecimal digits."""
    return secrets.token_hex(8)


def script(resources: Sequence[Resource], nonce: str) -> str:
    """The one script that asks for the state of all ``resources``; nothing on the host is changed by it."""
    parts = [PREAMBLE]
    for index, resource in enumerate(resources):
        parts.append(f"printf '\\n<%s %s\\n' {nonce} {index}")
        parts.append(f"( eval {quote(resource.probe())} ) </dev/null 2>&1")
        parts.append(f"printf '\\n>%s %s %s\\n' {nonce} {index} $?")
    parts.append(f"printf '.%s\\n' {nonce}")
    return "\n".join(parts)


def read(answer: str, resources: Sequence[Resource], nonce: str) -> Mapping[str, Observation]:
    """The observation of each resource, by its id.

    Raises:
        CommandFailed: the answer was cut off (the connection broke, or the shell died half-way).
    """
    frame = re.compile(rf"^<{nonce} (\d+)\n(.*?)\n>{nonce} \1 (\d+)$", re.MULTILINE | re.DOTALL)
    found = {int(m[1]): Observation(m[2].removesuffix("\n"), int(m[3])) for m in frame.finditer(answer)}
    if len(found) != len(resources) or f".{nonce}" not in answer:
        missing = next((r.id for i, r in enumerate(resources) if i not in found), "the end")
        raise CommandFailed(
            f"the answer to the probe was cut off at {missing}",
            command="(probe)",
            status=-1,
            stderr=answer[-500:],
            hint="run again; where it happens again, look for a full disk or an out-of-memory kill on the host",
        )
    return {resource.id: found[index] for index, resource in enumerate(resources)}
