"""What the stand-in is told by its environment: how fast it is, and how it is to be bad. See docs/lab.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """A pace, and what goes wrong; none of it is the default."""

    fail: str = ""  #: end the start with these words and 1
    start_seconds: float = 0  #: before it listens
    pace: float = 0  #: tokens a second of one answer; 0: at once
    never_healthy: bool = False  #: it listens, /health says 503 and nothing is answered, for ever
    nonsense: str = ""  #: ``repeat`` says one token over and over, ``other`` not what this model says
    served_name: str = ""  #: it names its model so, whatever it is told
    dies_after: float = 0  #: seconds after it began to listen
    metrics: str = "vllm:"  #: how the names of its numbers begin

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Faults:
        """As ``FLEETLAB_…`` say.

        Raises:
            ValueError: one says what can't be.
        """

        def number(name: str) -> float:
            return float(environment.get(f"FLEETLAB_{name}") or 0)

        def text(name: str) -> str:
            told = environment.get(f"FLEETLAB_{name}", "").strip()
            return "" if told.lower() in ("0", "no", "false") else told

        nonsense = text("NONSENSE")
        if nonsense not in ("", "repeat", "other"):
            nonsense = "repeat"  # 1, yes, true
        return cls(
            fail=text("FAIL"), start_seconds=number("START_SECONDS"), pace=number("TOKENS_PER_SECOND"),
            never_healthy=bool(text("NEVER_HEALTHY")), nonsense=nonsense, served_name=text("SERVED_NAME"),
            dies_after=number("DIES_AFTER"),
            metrics=text("METRICS") or "vllm:",
        )  # fmt: skip
