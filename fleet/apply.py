"""Bring one host to its plan: each change in order, looked at before and after, written down on the host.

Only what the plan names is done. Before each change the resource is probed again (an earlier change may have mended
it, or somebody else), and afterwards once more: what still differs is a failure, not a success with a footnote.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleet import audit, jobs, probe
from fleet.errors import CommandFailed, FleetError, HostError, NotHealthy
from fleet.lock import Owner
from fleet.resource import Change, Job, Observation, Pending, Reboot, Resource, Run, Step, Wait
from fleet.secret import Secret
from fleet.shell import PREAMBLE
from fleet.transport import Transport

#: sysexits.h EX_TEMPFAIL: "not yet", from a Wait's script.
NOT_YET: Final = 75
_one_reboot = threading.Lock()
Say = Callable[[str], None]


@dataclass(frozen=True)
class Failure:
    """What failed on a host: the resource, the command, its last stderr lines, and what to do next."""

    resource: str
    command: str
    stderr: str
    hint: str
    message: str = ""

    def as_json(self) -> dict[str, str]:
        """The object under ``failures``."""
        return {
            "resource": self.resource,
            "command": self.command,
            "stderr": self.stderr,
            "hint": self.hint,
            "message": self.message,
        }


@dataclass
class Applied:
    """What came of it: ids of the resources that changed, were so already, or wait; and the failure that stopped it."""

    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    failure: Failure | None = None


def look(transport: Transport, resources: Sequence[Resource], *, timeout: float = 180.0) -> Mapping[str, Observation]:
    """Probe all ``resources`` in one command."""
    if not resources:
        return {}
    nonce = probe.new_nonce()
    reply = transport.run(probe.script(resources, nonce), timeout=timeout)
    try:
        return probe.read(reply.stdout, resources, nonce)
    except CommandFailed as error:
        error.where = transport.name
        raise


def apply_host(
    transport: Transport,
    resources: Sequence[Resource],
    allowed: Collection[str],
    *,
    owner: Owner,
    run_name: str,
    say: Say,
    detail: Say,
    interrupt: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Applied:
    """Do the changes that ``allowed`` names (by resource id), in the resources' order, up to the first failure.

    What turns out to interrupt something waits, unless ``interrupt`` says that this is the time for it (a rollout).
    ``check`` is asked before each change and raises where the host is no longer ours.
    """
    done = Applied()
    for resource in resources:
        if resource.id not in allowed:
            continue
        try:
            check()
            seen = look(transport, [resource])[resource.id]
            change = resource.diff(seen)
            if change is None or isinstance(resource, Pending):
                done.unchanged.append(resource.id)
            elif change.interrupts and not interrupt:
                done.waiting.append(resource.id)
            else:
                _apply_one(transport, resource, seen, change, say, detail)
                audit.write(transport, change, owner, run_name, "done")
                done.changed.append(resource.id)
        except FleetError as error:
            done.failure = failure_of(resource.id, error)
            if transport_alive(transport):
                audit.write(transport, Change(resource.id, "change", error.message), owner, run_name, "failed")
            return done
    return done


def transport_alive(transport: Transport) -> bool:
    """Whether the host still answers."""
    try:
        return transport.run("true", timeout=10).ok
    except FleetError:
        return False


def _apply_one(
    transport: Transport, resource: Resource, seen: Observation, change: Change, say: Say, detail: Say
) -> None:
    say(f"{change.kind} {change.id}: {change.why}")
    for step in resource.apply(seen):
        take(transport, step, detail)
    left = resource.diff(look(transport, [resource])[resource.id])
    if left is not None:
        raise HostError(
            f"still differs after it was changed: {left.why}",
            where=transport.name,
            hint="something else on the host may change it back; run again, and look at the run's log",
            stderr=left.diff[-1500:],
        )


def take(transport: Transport, step: Step, say: Say) -> None:
    """Take one step on the host.

    Raises:
        HostError: it failed.
    """
    if isinstance(step, Job):
        jobs.run(transport, step, say)
    elif isinstance(step, Wait):
        _wait(transport, step, say)
    elif isinstance(step, Reboot):
        with _one_reboot:
            _reboot(transport, step, say)
    else:
        _run(transport, step)


def _run(transport: Transport, step: Run) -> None:
    stdin = step.stdin.reveal().encode() if isinstance(step.stdin, Secret) else step.stdin
    # A connection that breaks looks like the end of the input: write_file compares what came with what was sent.
    size = f"stdin_size={len(stdin)}\n" if stdin is not None else ""
    reply = transport.run(f"{PREAMBLE}\n{size}{step.script}", stdin, timeout=step.timeout)
    if not reply.ok:
        words = (reply.stderr.strip() or reply.stdout.strip()).splitlines()
        raise CommandFailed(
            f"{step.what or 'a command'} ended with {reply.status}",
            command=step.script.strip(),
            status=reply.status,
            stderr="\n".join(words[-12:]),
            where=transport.name,
        )


def _wait(transport: Transport, step: Wait, say: Say) -> None:
    until = time.monotonic() + step.timeout
    while True:
        reply = transport.run(f"{PREAMBLE}\n{step.script}", timeout=60)
        if reply.ok:
            return
        words = reply.stdout.strip().splitlines()
        if reply.status not in (NOT_YET, -1) or time.monotonic() > until:
            late = f"not so after {step.timeout:.0f} s" if reply.status in (NOT_YET, -1) else "it never will be"
            raise NotHealthy(
                f"{step.what}: {late}",
                where=transport.name,
                stderr="\n".join((reply.stderr.strip() or reply.stdout.strip()).splitlines()[-25:]),
                hint="the lines above are its last; journalctl on the host has the rest",
            )
        say(f"{step.what}: {words[-1] if words else 'not yet'}")
        time.sleep(step.every)


def _reboot(transport: Transport, step: Reboot, say: Say) -> None:
    before = _boot_id(transport)
    say(f"{step.what}: rebooting")
    # A moment later and from a unit of its own, so that this command still ends well.
    transport.run("systemd-run --quiet --on-active=1 systemctl reboot || (sleep 1; systemctl reboot) &")
    until = time.monotonic() + step.timeout
    while time.monotonic() < until:
        time.sleep(3)
        transport.drop()
        with contextlib.suppress(FleetError):
            now = _boot_id(transport)
            if now and now != before:
                say(f"{step.what}: back")
                return
        say(f"{step.what}: waiting for the host to come back")
    raise NotHealthy(
        f"{step.what}: not back after {step.timeout:.0f} s",
        where=transport.name,
        hint="look at its console; run again when it is up, what was done is kept",
    )


def _boot_id(transport: Transport) -> str:
    return transport.run("cat /proc/sys/kernel/random/boot_id", timeout=15).stdout.strip()


def failure_of(resource: str, error: FleetError) -> Failure:
    """An error as it stands in a result's ``failures``."""
    command = error.command if isinstance(error, CommandFailed) else ""
    stderr = error.stderr if isinstance(error, HostError) else ""
    return Failure(resource, command[:2000], stderr, error.hint, error.message)
