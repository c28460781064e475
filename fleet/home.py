"""Where this side keeps what it knows: ``.fleet/`` in the project (0700, ignored by git), or ``FLEET_HOME``."""

from __future__ import annotations

import os
import secrets
from datetime import datetime, timezone
from pathlib import Path

from fleet.target import ROOT


def home() -> Path:
    """The directory, made on first use, readable by its owner alone."""
    path = Path(os.environ.get("FLEET_HOME") or ROOT / ".fleet")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def hash_key() -> bytes:
    """The key of the hashes that stand for secrets in plans: made once, 0600, never leaves this machine."""
    path = home() / "key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        found = path.read_bytes()
        if len(found) == 32:
            return found
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)  # a write was cut off: plans made with it never were
    key = secrets.token_bytes(32)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
    return key


def new_run() -> Path:
    """A new directory for one run's logs, ``runs/<UTC time>-<four hexadecimal digits>``.

    Hosts remember a run by this name: two machines that begin in the same second must not take each other's for theirs.
    """
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    while True:
        path = home() / "runs" / f"{stamp}-{secrets.token_hex(2)}"
        try:
            path.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        return path
