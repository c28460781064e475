"""The releases of a host's instances: which there are, which one counts, and the way back. For rollouts and status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

from fleet.lock import Owner
from fleet.resource import Step
from fleet.resources.release import INSTANCES, UNITS, switch_step
from fleet.resources.serving import serve_steps
from fleet.shell import PREAMBLE
from fleet.transport import Transport

#: Prints the releases of all instances, newest first: ``release+=INSTANCE ID MARKS JSON``, the JSON without line ends.
SCRIPT: Final = f"""cd {INSTANCES} 2>/dev/null || exit 0
for d in */; do
  i=${{d%/}}; c=$(readlink "$i/current" 2>/dev/null); g=$(readlink "$i/good" 2>/dev/null)
  ls -1t "$i/releases" 2>/dev/null | while read -r r; do
    [ -f "$i/releases/$r/release.json" ] || continue
    m=-; [ "$c" = "releases/$r" ] && m=$m,current; [ "$g" = "releases/$r" ] && m=$m,good
    printf 'release+=%s %s %s %s\\n' "$i" "$r" "$m" "$(tr -d '\\n' < "$i/releases/$r/release.json")"
  done
done"""


@dataclass(frozen=True)
class Known:
    """A release on a host; ``about`` is its release.json: image, digest, model, content_id, args, port, gpus, …"""

    instance: str
    release: str
    current: bool = False
    good: bool = False
    number: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)


def read(answer: str) -> tuple[Known, ...]:
    """The releases in the answer to :data:`SCRIPT`, newest first; lines that are not whole are left out."""
    found = []
    for line in answer.splitlines():
        instance, release, marks, about = (*line.removeprefix("release+=").split(" ", 3), "", "", "", "")[:4]
        try:
            told = json.loads(about)
        except ValueError:
            continue
        if line.startswith("release+=") and isinstance(told, dict):
            marked = marks.split(",")
            found.append(Known(instance, release, "current" in marked, "good" in marked, about=told))
    return tuple(found)


def previous(known: Sequence[Known], instance: str) -> Known | None:
    """Where to go back to: the good release where the current one isn't good, else the newest other one; or None."""
    own = [release for release in known if release.instance == instance]
    good = next((release for release in own if release.good and not release.current), None)
    return good or next((release for release in own if not release.current), None)


def still_there(instance: str, release: str) -> str:
    """A script that ends with 0 where the release's image and weights are on the host; else it prints what is gone.

    The release's own before-start names both: what it looks for is looked for here, and nothing is started.
    """
    start = f"{INSTANCES}/{instance}/releases/{release}/before-start"
    return f"""f={start}; [ -x "$f" ] || {{ echo "its files are gone"; exit 1; }}
i=$(sed -n 's/^docker image inspect \\([^ ]*\\) .*/\\1/p' "$f"); w=$(sed -n 's/^\\[ -f \\([^ ]*\\) \\].*/\\1/p' "$f")
timeout 20 docker image inspect "$i" >/dev/null 2>&1 || {{ echo "its image $i is gone"; exit 1; }}
[ -f "$w" ] || {{ echo "its model's files are gone ($w)"; exit 1; }}"""


def note_switch(
    transport: Transport, instance: str, release: str, before: str, *, owner: Owner, run: str, why: str, verb: str
) -> None:
    """Write a switch into the instance's history on its host, for root alone: who, when, why, from what to what."""
    line = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "who": owner.who, "run": run, "verb": verb,
        "why": why, "release": release, "from": before,
    }  # fmt: skip
    text = json.dumps(line, ensure_ascii=False) + "\n"
    transport.run(f"{PREAMBLE}; cat >> {INSTANCES}/{instance}/history.jsonl", text.encode())


def go_back(instance: str, release: str, *, root: str = INSTANCES, units: str = UNITS) -> list[Step]:
    """The steps to ``release``, which lies on the host: switch, restart, wait until it serves, remember it as good."""
    return [switch_step(instance, release, root=root, units=units), *serve_steps(instance, "restart", root=root)]
