"""One look at an instance on its host: unit, container, kernel log, what its server says; and what to think of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from fleet.errors import HostError
from fleet.resources.release import unit_name
from fleet.rollout import ask
from fleet.rollout.judge import Judged
from fleet.rollout.live import Live
from fleet.shell import PREAMBLE, quote
from fleet.transport import Transport

#: A unit that was started so often again by systemd isn't starting: it fails.
_TRIES = 2
_FORMAT = "".join(
    f"{name}={{{{{value}}}}}\n"
    for name, value in (
        ("running", ".State.Running"),
        ("started", ".State.StartedAt"),
        ("oom", ".State.OOMKilled"),
        ("id", ".Id"),
        ("release", 'index .Config.Labels "fleet.release"'),
    )
)
#: What the kernel says that matters here: faults of a GPU, and who it killed for want of memory.
KERNEL = "NVRM: Xid|oom-kill:|Out of memory: Killed"


@dataclass(frozen=True)
class Look:
    """What was seen. ``said`` is what the server said, by question; ``error`` why nothing could be seen or asked."""

    seen: Mapping[str, str] = field(default_factory=dict)
    kernel: tuple[str, ...] = ()
    said: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def began(self) -> float:
        """When the container began, in the host's seconds since 1970; 0 where there is none."""
        return epoch(self.seen.get("started", ""))

    @property
    def clock(self) -> float:
        """The host's clock."""
        return float(self.seen.get("clock") or 0)

    @property
    def docker_away(self) -> bool:
        """Whether Docker itself didn't answer: of the container nothing is known then."""
        return self.seen.get("docker") == "away"


def look(transport: Transport, live: Live, *what: str, seconds: float, since: float | None = None, **told: Any) -> Look:
    """Look and ask: one command; with ``since``, in the kernel's log too. Silence of the host is an ``error``."""
    unit = unit_name(live.instance)
    kernel = ""
    if since is not None:
        kernel = f"""journalctl --dmesg --quiet --no-pager --output=cat --since=@{since:.0f} 2>/dev/null |
  grep -E {quote(KERNEL)} | tail -n 20 | sed 's/^/kernel+=/'"""
    # The server first, then how things are: what breaks while it is asked is seen by the same look.
    script = f"""{PREAMBLE}
printf 'said='
{ask.command(live, *what, seconds=seconds, **told)}
echo
{{ systemctl show {unit} -p ActiveState -p SubState -p NRestarts -p Result
if c=$(timeout 20 docker inspect --type container --format {quote(_FORMAT)} {live.container} 2>&1); then
  printf '%s\\n' "$c"
else
  case $c in *"o such"*) ;; *) echo docker=away; printf 'why=%s\\n' "$(printf %s "$c" | tail -n 1)";; esac
fi
echo clock=$(date +%s)
{kernel}
}} </dev/null"""
    try:
        reply = transport.run(script, ask.SCRIPT, timeout=seconds + 60)
    except HostError as error:
        return Look(error=error.message)
    if reply.status == -1:  # what came of it may lack the very line that matters, as one of the kernel's
        return Look(error=f"no whole answer within {seconds + 60:.0f} s")
    return read_look(reply.stdout, reply.stderr)


def read_look(stdout: str, stderr: str = "") -> Look:
    """From the command's output."""
    seen, kernel, said, error = {}, [], None, ""
    for line in stdout.splitlines():
        key, equals, value = line.partition("=")
        if key == "kernel+":
            kernel.append(value)
        elif key == "said":
            said = ask.answer(value)
        elif equals:
            seen[key] = value
    if said is None:
        error = (stderr.strip().splitlines() or ["its server can't be asked"])[-1]
    return Look(seen, tuple(kernel), said or {}, error)


def judge_unit(found: Look, live: Live) -> Judged:
    """Its unit is active."""
    state, sub = found.seen.get("ActiveState", ""), found.seen.get("SubState", "")
    if not state:
        return False, f"the host can't be asked: {found.error or 'no answer'}"
    if (state, sub) == ("active", "running"):
        return True, f"{unit_name(live.instance)} is active"
    result = found.seen.get("Result", "")
    return False, f"{unit_name(live.instance)} is {state} ({sub}{f', {result}' if result != 'success' else ''})"


def judge_container(found: Look, live: Live) -> Judged:
    """Its container runs the release that is to be judged."""
    if found.docker_away:
        return False, f"Docker doesn't answer: {found.seen.get('why', '')}"
    if found.seen.get("running") != "true":
        return False, f"container {live.container} doesn't run"
    if found.seen.get("release") != live.release:
        return False, f"release {found.seen.get('release') or 'none'} runs, {live.release} is current"
    return True, f"it runs release {live.release}"


def judge_port(found: Look, live: Live) -> Judged:
    """Somebody takes connections."""
    answer = found.said.get("port")
    if answer and answer["status"]:
        return True, f"{live.url} takes connections"
    return False, f"{live.url} takes no connections ({answer['body'] if answer else found.error})"


def judge_health(found: Look, live: Live) -> Judged:
    """It calls itself healthy."""
    answer = found.said.get("health")
    if answer and answer["status"] == 200:
        return True, f"/health of {live.instance} is 200"
    said = (answer["status"] or f"no answer ({answer['body']})") if answer else f"not asked ({found.error})"
    return False, f"/health: {said}"


def is_hopeless(found: Look) -> bool:
    """Whether waiting can change nothing: the unit ended, or systemd starts it again and again."""
    tries = found.seen.get("NRestarts", "")
    return found.seen.get("ActiveState") in ("failed", "inactive") or (tries.isdigit() and int(tries) >= _TRIES)


def judge_steady(first: Look, now: Look, live: Live) -> Judged:
    """Since the first look: no restart, nobody killed for want of memory, no new Xid, and healthy still."""
    if now.seen.get("oom") == "true":
        return False, "out of memory: something in its container was killed"
    faults = faults_of(now.kernel, now.seen.get("id") or first.seen.get("id", ""))
    if faults:
        return False, f"the kernel says: {faults[-1][:200]}"
    for judge in (judge_unit, judge_container):
        well, words = judge(now, live)
        if not well:
            return False, f"{words}; it did a moment ago"
    if any(now.seen.get(key) != first.seen.get(key) for key in ("id", "started", "NRestarts")):
        return False, f"it was started again ({now.seen.get('NRestarts')} times by systemd)"
    steady = now.said.get("steady")
    if not steady:
        return False, f"it can't be asked any more: {now.error}"
    said = steady["failed"]
    if said:
        return False, f"/health failed several times in a row: {said['status'] or 'no answer'} {said['body']}".rstrip()
    return True, "no restart, no kill for want of memory, no new Xid"


def faults_of(kernel: tuple[str, ...], container: str) -> list[str]:
    """The kernel's lines that count: any Xid, and kills for want of memory save those inside other containers."""
    found = []
    for line in kernel:
        own = not container or container in line
        if "oom-kill:" in line and "CONSTRAINT_MEMCG" in line and not own:
            continue
        if re.search(KERNEL, line):
            found.append(line)
    return found


def epoch(text: str) -> float:
    """Docker's time (RFC 3339, nanoseconds, UTC) in seconds since 1970; 0 for what is none."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", text)
    if not found:
        return 0.0
    whole = datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return whole.timestamp() + float(found[2] or 0)
