"""How to get into a host: where, as whom, by which way. ``~/.ssh/config`` fills what is empty here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fleet.secret import Secret


@dataclass(frozen=True)
class Login:
    """One host's way in. Empty fields are filled from ``~/.ssh/config``, then from ssh's own defaults.

    ``jump`` is a bastion as ssh's ProxyJump has it (``user@host:port``, several by commas), ``proxy_command`` as
    ssh's ProxyCommand. ``known_hosts`` are files beside the user's and the system's.
    """

    name: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: Secret | None = None
    key_files: tuple[str, ...] = ()
    jump: str = ""
    proxy_command: str = ""
    known_hosts: tuple[str, ...] = ()
    become: bool = False
    become_password: Secret | None = None
    timeout: float = 10.0

    @property
    def known_hosts_files(self) -> tuple[Path, ...]:
        """The files that say which keys are trusted, the one that ``trust`` writes to first."""
        named = tuple(Path(p).expanduser() for p in self.known_hosts)
        usual = (Path("~/.ssh/known_hosts").expanduser(), Path("/etc/ssh/ssh_known_hosts"))
        return named or usual


def default_user() -> str:
    """Who we are here: what ssh logs in as where nothing else is said."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or "root"
