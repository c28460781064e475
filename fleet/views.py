"""How results look to people: the plan, the recap, tables. Text in, text out; printing is report's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet import report
from fleet.errors import FleetError
from fleet.facts import Facts
from fleet.plan import HostPlan, PlannedChange
from fleet.provision import HostResult
from fleet.survey import Survey

_SIGNS = {"create": "+", "install": "+", "start": "+", "remove": "-", "restart": "±", "reboot": "±"}


def show_plan(surveys: Mapping[str, Survey | FleetError], *, diffs: bool = True) -> None:
    """Each host's changes, what waits for a rollout, and its problems, on stdout."""
    totals = [0, 0, 0]
    for name, seen in surveys.items():
        if isinstance(seen, FleetError):
            totals[2] += 1
            report.result(f"{name}: can't be looked at: {seen.message}\n    → {seen.hint}")
            continue
        plan = seen.plan
        totals[0] += len(plan.changes)
        totals[1] += len(plan.waits)
        totals[2] += plan.blocked
        report.result(host_plan(plan, diffs=diffs))
    changes, waits, bad = totals
    words = f"Plan: {changes} change{'s' * (changes != 1)} on {len(surveys)} host{'s' * (len(surveys) != 1)}"
    if waits:
        words += f", {waits} wait{'s' * (waits == 1)} for a rollout"
    if bad:
        words += f", {bad} host{'s' * (bad != 1)} can't be worked on"
    report.result(words + ".")


def host_plan(plan: HostPlan, *, diffs: bool = True) -> str:
    """One host's plan as text."""
    lines = [f"{plan.host}:" + ("" if plan.changes or plan.waits or plan.problems else " nothing to do")]
    for problem in plan.problems:
        lines.append(f"  {'✗' if problem.level == 'error' else '!'} {problem.words}")
        if problem.hint:
            lines.append(f"      → {problem.hint}")
    for planned in plan.changes:
        lines.extend(_change(planned, diffs=diffs))
    if plan.waits:
        lines.append("  waits for `./inv rollout`:")
        for planned in plan.waits:
            lines.extend(_change(planned, diffs=diffs, stops=True))
    return "\n".join(lines)


def _change(planned: PlannedChange, *, diffs: bool, stops: bool = False) -> list[str]:
    change = planned.change
    lines = [f"  {_SIGNS.get(change.kind, '~')} {change.id}  ({change.kind}) {change.why}"]
    if stops:
        lines.append(f"      would interrupt {', '.join(change.interrupts)}")
    if diffs and change.diff:
        shown = change.diff.splitlines()
        lines.extend(f"      {line}" for line in shown[:40])
        if len(shown) > 40:
            lines.append(f"      … {len(shown) - 40} more lines; --json has all")
    return lines


def show_recap(results: Mapping[str, HostResult], logs: str) -> None:
    """Ansible's recap, and for each failure the resource, the command, its last lines, and what to do next."""
    for name, result in results.items():
        for failure in result.failures:
            report.result(f"\n✗ {name}: {failure.resource}: {failure.message}")
            if failure.command:
                first, *more = failure.command.splitlines()
                report.result(f"    command: {first}{' …' if more else ''}")
            for line in failure.stderr.splitlines()[-12:]:
                report.result(f"    | {line}")
            if failure.hint:
                report.result(f"    → {failure.hint}")
    report.result("\nRECAP")
    width = max((len(name) for name in results), default=0)
    for name, r in results.items():
        report.result(
            f"{name.ljust(width)} : ok={r.ok:<4} changed={r.changed:<4} unreachable={r.unreachable:<4} "
            f"failed={r.failed:<4} skipped={r.skipped}"
        )
    waits = {name: r.waits for name, r in results.items() if r.waits}
    for name, ids in waits.items():
        report.result(f"{name.ljust(width)} : waits for ./inv rollout: {', '.join(ids)}")
    for name, result in results.items():
        for words in result.warnings:
            report.result(f"{name.ljust(width)} : warning: {words}")
    report.result(f"logs: {logs}")


def show_facts(facts: Mapping[str, Facts | FleetError]) -> None:
    """One line a host: system, GPUs, driver, Docker, memory, disk."""
    rows = []
    for name, seen in facts.items():
        if isinstance(seen, FleetError):
            rows.append([name, f"({seen.message})", "", "", "", "", ""])
            continue
        kinds: dict[str, int] = {}
        for gpu in seen.gpus:
            kinds[gpu.name] = kinds.get(gpu.name, 0) + 1
        gpus = ", ".join(f"{count}×{kind}" for kind, count in kinds.items())
        if not gpus:
            on_bus = sum(not p.is_nvswitch for p in seen.pci_gpus)
            gpus = f"{on_bus} on the bus, no driver" if on_bus else "none"
        rows.append(
            [
                name, seen.os_name, gpus, seen.driver_loaded or "-", seen.docker_version or "-",
                f"{seen.memory_kib / 2**20:.0f} GiB", f"{seen.free_kib('/var/lib') / 2**20:.0f} GiB",
            ]
        )  # fmt: skip
    report.table(["host", "system", "GPUs", "driver", "Docker", "memory", "free disk"], rows)


def show_status(seen: Mapping[str, dict[str, dict[str, Any]] | FleetError]) -> None:
    """One line an instance."""
    rows = []
    for name, found in seen.items():
        if isinstance(found, FleetError):
            rows.append([name, "", f"({found.message})", "", "", "", "", ""])
            continue
        for instance, told in found.items() or [("-", {"state": "no instances"})]:
            gpus = ", ".join(
                str(gpu.get("index", "?")) if isinstance(gpu, dict) else str(gpu) for gpu in told.get("gpus", [])
            )
            rows.append(
                [
                    name, instance, told["state"], told.get("release", ""), told.get("model", ""),
                    told.get("port") or "", gpus, told.get("restarts", ""),
                ]
            )  # fmt: skip
    report.table(["host", "instance", "state", "release", "model", "port", "GPUs", "restarts"], rows)
