"""Rounds of faults: something happens to a rollout at a moment drawn by a seed; then the way back, and the truth.

What is judged: every instance serves the old or the new release, nothing stays drained beyond its expiry, the journal
is closed, no lock is held, and no request failed but where a host or a gateway was itself killed.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.rollout_fleet import GATEWAYS, WORKERS, Fleet, Verb
from fleet.lab import hosts, lab, network
from fleet.lab.machine import LabError
from fleet.lab.names import LabHost
from fleet.rollout import journal
from fleet.rollout.turn import At

Row = dict[str, Any]
#: Seconds that a host's turn takes about: a fault comes within as many for each host of a rollout.
WITHIN: Final = 18.0
#: Of so many rounds the fault comes when hosts are being switched; of the others, at any moment from the start on.
SWITCHING: Final = 0.85
#: Of those rounds, a fault of a host comes so often within that very host's turn; else in anybody's.
OWN_TURN: Final = 0.7
#: After a fault, requests that were under way on what was killed may fail for so long.
EXCUSED_SECONDS: Final = 15.0
ROUNDS_TO_RESUME: Final = 5


@dataclass(frozen=True)
class Fault:
    """Something that happens, and how it is undone; ``excuses`` whether requests may fail by it.

    ``on`` says whom it strikes: a host, a gateway, or the control side.
    """

    strike: Callable[[LabHost, Verb], None]
    undo: Callable[[LabHost], None] = lambda host: None
    lasts: tuple[float, float] = (0.0, 0.0)
    on: str = "host"
    excuses: bool = False


def _run(script: str) -> Callable[[LabHost, Verb], None]:
    def strike(host: LabHost, verb: Verb) -> None:
        with contextlib.suppress(LabError):  # what the command ends may be what it was started by
            lab.run(host, script, timeout=60)

    return strike


FAULTS: Final[Mapping[str, Fault]] = {
    "control": Fault(lambda host, verb: verb.kill(), on="control"),
    "host": Fault(lambda host, verb: lab.kill(host), lasts=(5, 5), excuses=True),
    "gateway": Fault(_run("pkill -KILL -x haproxy"), lasts=(2, 2), on="gateway", excuses=True),
    "dockerd": Fault(_run("systemctl kill --signal=KILL docker")),
    "sshd": Fault(_run("pkill -KILL -x sshd; pkill -KILL -f ^sshd; :")),
    "link": Fault(lambda host, verb: network.cut(host), network.restore, lasts=(3, 12)),
    "disk": Fault(lambda host, verb: lab.fill_disk(host), lab.free_disk, lasts=(15, 30)),
    # The control side's own network: for longer than a gateway keeps a drain, in a part of the rounds.
    "network": Fault(
        lambda host, verb: network.cut(None), lambda host: network.restore(None), lasts=(5, 80), on="control"
    ),
}


def rounds(fleet: Fleet, seeds: int, first: int = 0, hosts_each: int = 2) -> list[Row]:
    """One round a seed; a round begins where the last one left the fleet."""
    rows = []
    for seed in range(first, first + seeds):
        rows.append(one(fleet, seed, hosts_each))
        print(f"   seed {seed}: {rows[-1]}", flush=True)
    return rows


def one(fleet: Fleet, seed: int, hosts_each: int) -> Row:
    """One round."""
    drawn = random.Random(seed)
    possible = [name for name in FAULTS if name != "disk" or all(host.disk for host in WORKERS)]
    name = possible[seed % len(possible)]  # each kind as often as the others
    fault = FAULTS[name]
    before = {host: {seen.number} for host, seen in fleet.truth().items()}
    number = str(fleet.next_release())
    chosen = drawn.sample(WORKERS, min(hosts_each, len(WORKERS) - 1))
    struck = drawn.choice(GATEWAYS if fault.on == "gateway" else chosen)
    switching = drawn.random() < SWITCHING
    own = fault.on == "host" and switching and drawn.random() < OWN_TURN
    moment, lasts = drawn.uniform(0, WITHIN if own else WITHIN * hosts_each), drawn.uniform(*fault.lasts)
    back = ("resume", "abort")[seed // len(possible) % 2]
    runs = set(journal.known())
    with fleet.load(f"c-{seed}", pace=("--workers", "8")) as load:
        verb = fleet.rollout("--limit", ",".join(host.name for host in chosen), "--batch", "1,2", "--no-canaries",
                             "--max-unavailable", "2", "--min-healthy", "2s")  # fmt: skip
        while not verb.over() and not _time_has_come(runs, struck if own else None, switching=switching):
            time.sleep(0.1)
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and not verb.over():
            time.sleep(0.1)
        early, at = verb.over(), time.time()
        where = _where(struck if fault.on == "host" else None)
        try:
            fault.strike(struck, verb)
            time.sleep(lasts)
        finally:
            fault.undo(struck)
        if fault.on != "control":
            hosts.wait_up(struck)
        ran = verb.wait(600)
        took_up = _take_up(fleet, back)
    allowed = {host: numbers | ({number} if _in(host, chosen) else set()) for host, numbers in before.items()}
    wrong = fleet.settled(allowed, seconds=120)
    wrong += _disagree(fleet, set(journal.known()) - runs, number)
    failed = load.failed()
    excused = [one_ for one_ in failed if _excused(one_, fault, struck, at, at + lasts)]
    lost = len(failed) - len(excused)
    return {
        "seed": seed, "fault": name, "on": "" if fault.on == "control" else struck.name, "at": round(moment, 1),
        "during": "after its end" if early else where, "rollout": ran.code, "then": took_up or "nothing to do",
        "requests": load.summary.get("requests", 0), "excused": len(excused), "failed": lost,
        "good": not wrong and not lost and bool(load.summary), "wrong": "; ".join(wrong),
    }  # fmt: skip


def _time_has_come(runs: set[str], host: LabHost | None, *, switching: bool) -> bool:
    """Whether what the fault waits for has begun: nothing, the rollout's switching, or a host's own turn."""
    new = set(journal.known()) - runs
    if not switching or (host is None and new):
        return True
    return host is not None and any(host.name in journal.read(journal.find(run)).steps for run in new)


def _excused(failure: Mapping[str, Any], fault: Fault, struck: LabHost, at: float, over: float) -> bool:
    """Whether a request was under way, or begun, while what was killed was away; of a gateway only its own requests."""
    if not fault.excuses or (fault.on == "gateway" and struck.address not in str(failure["url"])):
        return False
    return bool(failure["at"] < over + EXCUSED_SECONDS and failure["at"] + failure["seconds"] >= at - 0.5)


def _disagree(fleet: Fleet, runs: set[str], number: str) -> list[str]:
    """Where a journal of this round says another release than its host serves."""
    found = []
    truth = fleet.truth()
    for run in runs:
        for host, end in journal.read(journal.find(run)).ends.items():
            if (end is At.DONE) != (truth[host].number == number):
                found.append(f"{host}: its journal says {end.value}, it serves {truth[host].number}")
    return found


def _in(host: str, chosen: list[LabHost]) -> bool:
    return any(one_.name == host for one_ in chosen)


def _where(host: LabHost | None) -> str:
    """What the rollout was doing: on that host, or else on any."""
    path = journal.open_one()
    if path is None:
        return "preparing"
    story = journal.read(path)
    at = {name: step.value for name, step in story.steps.items() if name not in story.ends}
    if host is not None:
        return at.get(host.name) or ("after its turn" if host.name in story.ends else "elsewhere")
    return ", ".join(f"{step} of {name}" for name, step in at.items()) or "between waves"


def _take_up(fleet: Fleet, back: str) -> str:
    """What an operator would type until nothing is open: resume, or abort."""
    said: list[str] = []
    for _ in range(ROUNDS_TO_RESUME):
        if journal.open_one() is None:
            break
        ran = fleet.inv(f"rollout.{back}", "--yes", "--json", timeout=600)
        said.append(f"{back} {ran.code}")
        if ran.code:
            time.sleep(5)
    return ", ".join(said)
