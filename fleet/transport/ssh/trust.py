"""Which host keys are known: show them, and write down those that a person has compared."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import paramiko

from fleet.transport.login import Login
from fleet.transport.ssh.auth import fingerprint, ssh_config
from fleet.transport.ssh.connection import SshTransport


@dataclass(frozen=True)
class ShownKey:
    """The key that a host shows now. ``state``: ``known``, ``unknown``, ``changed``; ``line`` is for known_hosts."""

    host: str
    fingerprint: str
    state: str
    place: str
    line: str
    file: Path


def scan(login: Login) -> ShownKey:
    """Ask the host for its key and compare it with the known ones.

    Raises:
        Unreachable: no answer.
    """
    config = ssh_config(login)
    host, port = str(config.get("hostname", login.host or login.name)), int(login.port or config.get("port", 22))
    place = host if port == 22 else f"[{host}]:{port}"
    known = paramiko.HostKeys()
    for path in login.known_hosts_files:
        if path.is_file():
            known.load(str(path))
    entry = known.lookup(place)
    key = SshTransport(login).scan(prefer=list(entry) if entry else ())
    state = "unknown" if entry is None else "known" if known.check(place, key) else "changed"
    line = f"{place} {key.get_name()} {key.get_base64()}"
    return ShownKey(login.name, fingerprint(key), state, place, line, login.known_hosts_files[0])


def remember(shown: ShownKey) -> None:
    """Write the key down in the first known_hosts file, in place of an older one of this host; whole or not at all."""
    shown.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = shown.file.read_text().splitlines() if shown.file.is_file() else []
    kept = [line for line in old if not _is_of(line, shown.place)]
    temporary = shown.file.with_name(f".{shown.file.name}.{os.getpid()}")
    temporary.write_text("\n".join([*kept, shown.line]) + "\n")
    temporary.chmod(0o600)
    temporary.replace(shown.file)


def _is_of(line: str, place: str) -> bool:
    """Whether a line of known_hosts, hashed names included, is of this host."""
    words = line.split()
    if not words or words[0].startswith(("#", "@")):
        return False
    hashed = words[0].startswith("|1|") and paramiko.HostKeys.hash_host(place, words[0]) == words[0]
    return hashed or place in words[0].split(",")
