"""One host's turn in a rollout: a table of what is done, and where it goes on from there. Pure.

::

    drain ─▶ idle ─▶ measure ─▶ switch ─▶ gates ─▶ admit ─▶ DONE        it serves the new release
      │        │        │          │        │        └────▶ STRANDED    it serves, and a gateway can't be told
      └────────┴────────┴─▶ keep   └────────┴─▶ go-back ─▶ check ─▶ readmit ─▶ REVERTED
       nothing was touched   └─▶ KEPT               └─────────┴─▶ BROKEN   neither is well: what is new is stopped

Each step may be done twice: what it is to bring about is looked at first. That is what makes a resume simple.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class At(str, Enum):
    """Where a host is: what is being done there (lower case), or how its turn ended (upper case)."""

    DRAIN = "drain"  #: every gateway is told to send it nothing new
    IDLE = "idle"  #: what it was asked before is being answered
    MEASURE = "measure"  #: how the old release answers, and how fast
    SWITCH = "switch"  #: stop, change, start, wait until it is healthy
    GATES = "gates"  #: is the new release as good as the old one?
    ADMIT = "admit"  #: the gateways send it requests again
    KEEP = "keep"  #: nothing was touched: the gateways send it requests again
    GO_BACK = "go-back"  #: to the releases that it had before
    CHECK = "check"  #: does the old release answer?
    READMIT = "readmit"  #: the gateways send it requests again
    DONE = "DONE"
    KEPT = "KEPT"
    REVERTED = "REVERTED"
    STRANDED = "STRANDED"
    BROKEN = "BROKEN"

    @property
    def is_end(self) -> bool:
        """Whether the turn is over."""
        return self.value.isupper()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do for this host: it serves the new release or the old one, and gets requests."""
        return self in (At.DONE, At.KEPT, At.REVERTED)


#: What is done → (where to when it went well, where to when it didn't).
ROUTES: Final[Mapping[At, tuple[At, At]]] = {
    At.DRAIN: (At.IDLE, At.KEEP),
    At.IDLE: (At.MEASURE, At.KEEP),
    At.MEASURE: (At.SWITCH, At.KEEP),  # a release that can't be measured is no failure; a host that can't be asked is
    At.SWITCH: (At.GATES, At.GO_BACK),
    At.GATES: (At.ADMIT, At.GO_BACK),
    At.ADMIT: (At.DONE, At.STRANDED),
    At.KEEP: (At.KEPT, At.STRANDED),
    At.GO_BACK: (At.CHECK, At.BROKEN),
    At.CHECK: (At.READMIT, At.BROKEN),
    At.READMIT: (At.REVERTED, At.STRANDED),
}


#: What people read of a step under way, and of how a turn ended.
DOING: Final[Mapping[At, str]] = {
    At.DRAIN: "draining",
    At.IDLE: "waiting for its requests to end",
    At.MEASURE: "measuring the old release",
    At.SWITCH: "switching",
    At.GATES: "gates",
    At.ADMIT: "back in",
    At.KEEP: "back in as it was",
    At.GO_BACK: "going back to the old release",
    At.CHECK: "checking the old release",
    At.READMIT: "back in with the old release",
}
ENDED: Final[Mapping[At, str]] = {
    At.DONE: "serves the new release",
    At.KEPT: "left as it was, and serves",
    At.REVERTED: "was put back, and serves the old release",
    At.STRANDED: "serves, but a gateway can't be told: its own timer puts the host back in; ./inv rollout.resume",
    At.BROKEN: (
        "neither release is well: the new one is stopped, the gateways keep the host drained for a time"
        " (gateway.drain_seconds); see the lines above, then ./inv rollout.resume"
    ),
}


#: From these on the host isn't what it was: "left as it was" would be untrue.
TOUCHING: Final = (At.SWITCH, At.GATES, At.GO_BACK, At.CHECK)


def after(at: At, *, ok: bool, back: bool = False, touched: bool = False) -> At:
    """Where the turn goes on; ``back`` says that it is on its way to the old release, as after an abort.

    ``touched`` says that an earlier, cut-off try got as far as the switch: then there is nothing to keep.
    """
    if (at is At.IDLE and back) or (at in (At.IDLE, At.MEASURE) and touched and not ok):
        return At.GO_BACK  # also where requests still run: they run on a release that may not stay
    if at is At.DRAIN and (back or touched):
        return At.IDLE if ok else At.STRANDED
    return ROUTES[at][0 if ok else 1]


def resumed(at: At, *, abort: bool = False, back: bool = False, touched: bool = False) -> tuple[At, bool]:
    """Where a turn whose last step was ``at`` is taken up again, and whether it leads back to the old release.

    A drain may have expired since, so that the host gets requests: whatever stops an instance begins with a drain.
    A turn that was taken up once already may have been cut off at its drain again: ``back`` and ``touched`` are what
    is known of all its tries.
    """
    if at in (At.DRAIN, At.IDLE, At.MEASURE):
        if back or touched:
            return At.DRAIN, abort or back
        return (At.KEEP if abort else At.DRAIN), False
    if at in (At.SWITCH, At.GATES):
        return At.DRAIN, abort
    if at in (At.GO_BACK, At.CHECK):
        return At.DRAIN, True
    return at, False  # it has only to be given back
