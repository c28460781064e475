"""Rollouts on the lab under a steady mixed load: what fails, how long it takes, and what faults leave behind.

    python -m benchmarks.rollout [--hosts 12|3] [--only a,b,c,d,e] [--seeds 8] [--first-seed 0] [--requests 20000]
                                 [--keep] [--out DIR]

Raises the lab in that shape (12: the stand-in serves; 3: the real vLLM where it can be had), provisions it, and runs:

a  a rollout of all hosts: 0 failed requests, and a time within 1.15 × waves × (drain + start + gates)
b  five releases that are bad in five ways: each stopped at its first canary and put back, 0 failed requests
c  seeded rounds of faults at random moments, then rollout.resume or rollout.abort, then the truth
d  a rollback of all hosts: nothing downloaded
e  the servers' key changed on all hosts: 0 failed requests

Everything that the verbs printed lies in --out. Exit 1 where a row isn't good. A second lab beside the first wants
FLEET_LAB_SLOT and FLEET_LAB_DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHAPES = {12: "twelve", 3: "three"}
REQUESTS = {12: 20_000, 3: 200}
#: Columns that say nothing where all is well.
_QUIET = ("wrong", "errors", "excused")


def main(words: Sequence[str]) -> int:
    """Run it; 1 where something isn't as it should be."""
    told = parser().parse_args(words)
    os.environ["FLEET_LAB_SHAPE"] = SHAPES[told.hosts]
    if told.hosts == 12:
        os.environ["FLEET_LAB_SERVES"] = "stand-in"
    os.environ["FLEET_HOME"] = str(told.out.resolve() / "home")
    # The lab's shape is read when its modules are: after the environment has been set.
    from benchmarks import rollout_faults, rollout_scenarios
    from benchmarks.rollout_fleet import Fleet

    raised(told.out)
    fleet = Fleet(told.out.resolve())
    good = True
    for letter in told.only.split(","):
        started = time.monotonic()
        if letter == "a":
            title, rows = (
                "a rollout of all hosts",
                rollout_scenarios.whole(fleet, told.requests or REQUESTS[told.hosts]),
            )
        elif letter == "c":
            title, rows = "faults", rollout_faults.rounds(fleet, told.seeds, told.first_seed)
        else:
            title, work = rollout_scenarios.SCENARIOS[letter]
            rows = work(fleet)
        good = good and all(row["good"] for row in rows)
        rollout_scenarios.write(told.out / f"{letter}.jsonl", rows)
        print(f"\n## {letter}: {title} ({time.monotonic() - started:.0f} s)\n\n{table(rows)}", flush=True)
    if not told.keep:
        _run("lab.down")
    return 0 if good else 1


def raised(out: Path) -> None:
    """The lab up and provisioned; what is up stays."""
    out.mkdir(parents=True, exist_ok=True)
    from fleet.lab.names import INVENTORY

    os.environ["FLEET_INVENTORY"] = INVENTORY
    for words in (["lab.up", "--yes"], ["provision", "--yes"]):
        started = time.monotonic()
        _run(*words)
        print(f"{words[0]}: {time.monotonic() - started:.0f} s", flush=True)


def _run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "fleet", *words], check=True, stdout=subprocess.DEVNULL, timeout=3600)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown, without columns that are empty in all of them."""
    names = [name for name in rows[0] if name not in _QUIET or any(row.get(name) for row in rows)]
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="benchmarks.rollout", description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--hosts", type=int, choices=tuple(SHAPES), default=12)
    made.add_argument("--only", default="a,b,c,d,e", help="Which scenarios, with commas")
    made.add_argument("--seeds", type=int, default=8, help="Rounds of faults; eight kinds take turns")
    made.add_argument("--first-seed", type=int, default=0)
    made.add_argument("--requests", type=int, help="At least so many in a (default 20000; 200 of real vLLMs on a CPU)")
    made.add_argument("--keep", action="store_true", help="Leave the lab up")
    made.add_argument("--out", type=Path, default=Path("build/rollout"))
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
