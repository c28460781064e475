"""Long work on a host: a transient systemd unit that outlives the connection and this program.

A job has a directory of its own (``/var/lib/fleet/jobs/NAME``, 0700) with its script, its files, its log, and at the
end its exit status in ``rc``. Whoever comes next finds the unit by its name and follows it; nothing is done twice.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Final

from fleet.errors import CommandFailed, HostError
from fleet.resource import Job
from fleet.secret import Secret
from fleet.shell import PREAMBLE, quote
from fleet.transport import Transport

JOBS: Final = "/var/lib/fleet/jobs"
PREFIX: Final = "fleet-job-"
#: Bytes of a job's log that one look at it brings here.
MOST_AT_ONCE: Final = 60_000
#: Takes away what jobs left that ended well and that nobody came back for; their files are gone with their end.
SWEEP: Final = f'for d in {JOBS}/*/; do [ "$(cat "$d/rc" 2>/dev/null)" = 0 ] && rm -rf "$d"; done; :'
Say = Callable[[str], None]


def start(transport: Transport, job: Job) -> bool:
    """Start ``job``, or find it at work already; True where it was started now."""
    files = {"script": job.script, **job.files}
    lines = [f"{name} {_encode(content)}" for name, content in files.items()]
    script = f"""{PREAMBLE}; set -e
u={quote(PREFIX + job.name)}; d={JOBS}/{quote(job.name)}
while :; do  # one that has written its status is done; its unit is gone a moment later
  case $(systemctl is-active "$u" 2>/dev/null || true) in active|activating|deactivating) ;; *) break;; esac
  [ -f "$d/rc" ] || {{ echo running; exit 0; }}
  sleep 0.1
done
systemctl reset-failed "$u" 2>/dev/null || true
rm -rf "$d"; mkdir -p {JOBS}; chmod 0700 {JOBS}; mkdir -m 0700 "$d"
while read -r n c; do printf %s "$c" | base64 -d > "$d/$n"; done
: > "$d/log"
systemd-run --quiet --collect --unit="$u" --description={quote("vllm-fleet: " + job.what)} \\
  --property=RuntimeMaxSec={job.timeout:.0f} --property=KillMode=control-group --setenv=JOB="$d" \\
  sh -c 'cd "$JOB"; sh ./script > log 2>&1; echo $? > rc.new; find . -type f ! -name log ! -name rc.new -delete
    sync rc.new 2>/dev/null || sync; mv rc.new rc'
echo started"""
    reply = transport.run(script, "".join(f"{line}\n" for line in lines).encode())
    if not reply.ok:
        raise CommandFailed(
            f"{job.what}: the work could not be started", command="systemd-run", status=reply.status,
            stderr=reply.stderr, where=transport.name, hint="is systemd well on this host? systemctl is-system-running",
        )  # fmt: skip
    return reply.stdout.strip().endswith("started")


def follow(transport: Transport, name: str, what: str, say: Say, *, timeout: float = 6 * 3600.0) -> str:
    """Follow the job until it ends; its last ``progress:`` lines go to ``say``. Returns the end of its log.

    Raises:
        CommandFailed: it failed, was killed, or vanished.
    """
    offset, tail, until = 0, "", time.monotonic() + timeout
    while time.monotonic() < until:
        reply = transport.run(_poll(name, offset), timeout=60)
        text, _, state = reply.stdout.rpartition("\n@@")
        if not reply.ok or not state:
            raise HostError(
                f"{what}: can't be followed",
                where=transport.name,
                stderr=reply.stderr,
                hint="run again to go on with it",
            )
        status, active, size = (*state.split(" "), "", "", "")[:3]
        offset = int(size or offset)
        tail = (tail + text)[-4000:]
        for line in text.splitlines():
            if line.startswith("progress: "):
                say(line.removeprefix("progress: "))
        if status != "-":
            return _ended(transport, name, what, int(status), tail)
        if active not in ("active", "activating", "deactivating"):
            return _ended(transport, name, what, -1, tail)
    raise HostError(f"{what}: no end after {timeout:.0f} s", where=transport.name, hint="it goes on there; run again")


def run(transport: Transport, job: Job, say: Say) -> str:
    """Start the job, or go on with it, and follow it to its end."""
    if not start(transport, job):
        say("found at work already, going on with it")
    return follow(transport, job.name, job.what, say, timeout=job.timeout + 60)


def _poll(name: str, offset: int) -> str:
    """What is new in the log since ``offset``, within 4 s; then ``@@STATUS ACTIVE SIZE``."""
    # Half a second at least passes while it runs, so that a chatty job isn't asked without a pause; of a lot of output
    # only the end travels, the whole stays on the host. An rc that a full disk left empty is a failure.
    return f"""{PREAMBLE}; d={JOBS}/{quote(name)}; u={quote(PREFIX + name)}; i=0; o={offset}
while [ $i -lt 8 ] && [ ! -f "$d/rc" ] && {{ [ $i -eq 0 ] || [ "$(cat "$d/log" 2>/dev/null | wc -c)" -le $o ]; }}; do
  case $(systemctl is-active "$u") in active|activating|deactivating) ;; *) break;; esac
  sleep 0.5; i=$((i+1))
done
a=$(systemctl is-active "$u"); r=-
if [ -f "$d/rc" ]; then r=$(cat "$d/rc"); case $r in ''|*[!0-9]*) r=255;; esac; fi
n=$(($(cat "$d/log" 2>/dev/null | wc -c))); [ "$n" -le $((o+{MOST_AT_ONCE})) ] || o=$((n-{MOST_AT_ONCE}))
tail -c +$((o+1)) "$d/log" 2>/dev/null | head -c $((n-o))
printf '\\n@@%s %s %s' "$r" "$a" "$n\""""


def _ended(transport: Transport, name: str, what: str, status: int, tail: str) -> str:
    if status == 0:
        transport.run(f"rm -rf {JOBS}/{quote(name)}")
        return tail
    words = [line for line in tail.splitlines() if line.strip() and not line.startswith("progress: ")]
    raise CommandFailed(
        f"{what} failed" if status > 0 else f"{what} was ended before it was done",
        command=f"journal of {PREFIX}{name}",
        status=status,
        stderr="\n".join(words[-15:]),
        where=transport.name,
        hint=_hint(tail) or f"the whole log is {JOBS}/{name}/log on the host; mend the cause and run again",
    )


def _hint(log: str) -> str:
    """Words for the causes that are met most; the rest speaks for itself in the log's last lines."""
    lower = log.lower()
    for sign, words in _HINTS.items():
        if sign in lower:
            return words
    return ""


_HINTS: Final = {
    "no space left on device": "the disk is full: make room (df -h), or set weights.root / runtime.data_root elsewhere",
    "temporary failure resolving": "the host can't resolve names: check its DNS, or set mirrors / proxy",
    "could not resolve host": "the host can't resolve names: check its DNS, or set mirrors / proxy",
    "connection refused": "the server refuses connections: is it up, and is the mirror's address right?",
    "connection timed out": "the server doesn't answer: check the network, or set mirrors / proxy",
    "hash sum mismatch": "the mirror is inconsistent: try again in some minutes, or another mirror",
    "unauthorized": "login is wanted: set image.login or weights.token",
    "manifest unknown": "the registry doesn't have this image: check image.ref and image.digest",
}


def _encode(content: str | Secret) -> str:
    text = content.reveal() if isinstance(content, Secret) else content
    return base64.b64encode(text.encode()).decode()
