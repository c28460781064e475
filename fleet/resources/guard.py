"""What a change would stop, and how a host tells whether that runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.resource import Observation


@dataclass(frozen=True)
class Guard:
    """Doing it now stops ``stops`` where ``busy`` prints anything.

    ``busy`` is sh that prints the name of each thing that runs and would be stopped; names only, so that the answer is
    the same from run to run. A resource with a guard puts :meth:`probe` into its probe and :meth:`interrupts` into its
    change.
    """

    stops: tuple[str, ...]
    busy: str

    def probe(self) -> str:
        """Sh that prints ``busy=`` and the names."""
        return f'printf "busy=%s\\n" "$( ( {self.busy} ) 2>/dev/null | sort | tr "\\n" " ")"'

    def interrupts(self, seen: Observation) -> tuple[str, ...]:
        """What the change would stop, by what was just seen."""
        return self.stops if seen.get("busy").strip() else ()


#: Names of all running containers, ours and others'.
RUNNING_CONTAINERS: Final = "timeout 20 docker ps --format '{{.Names}}'"
#: A restart of Docker stops every container.
DOCKER: Final = Guard(("docker",), RUNNING_CONTAINERS)
