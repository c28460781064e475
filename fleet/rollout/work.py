"""What all turns of a rollout share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fleet.lock import Owner
from fleet.progress import Progress
from fleet.rollout.balancers import Balancers
from fleet.rollout.journal import Journal
from fleet.rollout.switching import Switch
from fleet.settings.rollout import Rollout

#: Seconds that a host which is gone may take to come back before its step has failed.
BACK_AGAIN: Final = 180.0


@dataclass(frozen=True)
class Work:
    """Handed to every turn; ``limits`` and ``address`` are host → its own, ``stopped`` is set by Ctrl-C."""

    run: str
    owner: Owner
    why: str
    switch: Switch
    balancers: Balancers
    journal: Journal
    progress: Progress
    limits: Callable[[str], Rollout]
    stopped: threading.Event
    address: Callable[[str], str]
    drain_seconds: float = 600.0
    back_again: float = BACK_AGAIN
