"""``./inv test``: lint, types, all tests, the lab's included where this machine can hold it."""

from __future__ import annotations

import subprocess
import sys
import time

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.program import verb
from fleet.target import ROOT

#: What is checked, in the order of what breaks soonest: (name, module and its words).
CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lint", ("ruff", "check", "--quiet", ".")),
    ("format", ("ruff", "format", "--quiet", "--check", ".")),
    ("types", ("mypy",)),
)
UNIT = ("pytest", "-q", "tests/unit")
LAB = ("pytest", "-q", "tests/lab")
#: Rollouts, bad releases, faults and a rollback under load, on twelve hosts of the lab: an hour and a half.
ROUNDS = ("benchmarks.rollout", "--seeds", "64")


@verb(
    help={
        "soak": "Also the long seeded fault runs (about two hours; the lab's twelve hosts take the place of its three)",
        "lab": "Also the tests on the lab's hosts (default; --no-lab leaves them out)",
        "only": "A part of the tests, e.g. tests/unit/test_plan.py, without lint and types",
    }
)
def run_tests(c: Context, soak: bool = False, lab: bool = True, only: str = "") -> None:
    """Check everything: lint, types, unit tests, and the tests on real hosts.

    Example: ./inv test          ./inv test --only tests/unit/test_plan.py
    """
    if only:
        raise Exit(code=_run("tests", ("pytest", "-q", *only.split())))
    which = ("-m", "soak or not soak") if soak else ("-m", "not soak")
    failed = [name for name, words in (*CHECKS, ("unit tests", (*UNIT, *which))) if _run(name, words) != 0]
    if lab:
        from fleet.lab.machine import why_not

        reason = why_not()
        if reason:
            report.warn(f"the lab's tests were left out: {reason}")
        else:
            if not _on_the_lab((*LAB, *which)):
                failed.append("tests on the lab's hosts")
            if soak and _run("rollouts and faults under load", ROUNDS) != 0:
                failed.append("rollouts and faults under load")
    if failed:
        report.error(f"failed: {', '.join(failed)}")
        raise Exit(code=1)
    report.note("all well")


def _on_the_lab(words: tuple[str, ...]) -> bool:
    """Run the lab's tests; a lab that wasn't up before is ended afterwards."""
    from fleet.lab import lab

    was_up = bool(lab.status()["up"])
    try:
        return _run("tests on the lab's hosts", words) == 0
    finally:
        if not was_up:
            lab.down(lambda text: report.note(f"lab  {text}"))


def _run(name: str, words: tuple[str, ...]) -> int:
    report.heading(f"▶ {name}")
    started = time.monotonic()
    status = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=False).returncode
    report.note(f"  {name}: {'well' if status == 0 else f'ended with {status}'}, {time.monotonic() - started:.0f} s")
    return status


collection = Collection("test")
collection.add_task(run_tests, name="test", default=True)
