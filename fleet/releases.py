"""The releases of a host's instances: which there are, which one counts, how it came to be, and the way back.

Each switch of an instance leaves one JSON line in ``/etc/fleet/instances/NAME/history.jsonl``: ``time``, ``who``,
``run``, ``why``, ``verb`` (one of :data:`VERBS`), ``release``, its ``number``, and ``from``, the release before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Final, Literal

from fleet.errors import CommandFailed, UsageError
from fleet.lock import Owner
from fleet.resource import Step
from fleet.resources.release import INSTANCES, UNITS, switch_step
from fleet.resources.serving import serve_steps
from fleet.shell import PREAMBLE, quote
from fleet.transport import Transport

Verb = Literal["provision", "rollout", "rollback", "put-back"]
#: Switches that are read back: enough for the last one of every release that is kept.
_REMEMBERED: Final = 100
#: Prints the releases of all instances, newest first: ``release+=INSTANCE ID MARKS NUMBER STAGED JSON`` (STAGED in
#: seconds since 1970, the JSON without line ends), and their last switches, oldest first: ``switch+=INSTANCE JSON``.
SCRIPT: Final = f"""cd {INSTANCES} 2>/dev/null || exit 0
for d in */; do
  i=${{d%/}}; c=$(readlink "$i/current" 2>/dev/null); g=$(readlink "$i/good" 2>/dev/null)
  ls -1t "$i/releases" 2>/dev/null | while read -r r; do
    p=$i/releases/$r; [ -f "$p/release.json" ] || continue
    m=-; [ "$c" = "releases/$r" ] && m=$m,current; [ "$g" = "releases/$r" ] && m=$m,good
    n=0; t=$p; [ -s "$p/number" ] && {{ t=$p/number; read -r n < "$t"; }}
    printf 'release+=%s %s %s %s %s %s\\n' "$i" "$r" "$m" "$n" "$(stat -c %Y "$t")" "$(tr -d '\\n' < "$p/release.json")"
  done
  tail -n {_REMEMBERED} "$i/history.jsonl" 2>/dev/null | while read -r s; do printf 'switch+=%s %s\\n' "$i" "$s"; done
done"""


@dataclass(frozen=True)
class Switch:
    """When an instance was last brought to a release, by whom, in which run, why, by which verb, and from which."""

    time: str
    who: str
    why: str
    run: str = ""
    verb: str = ""
    before: str = ""

    def as_json(self) -> dict[str, str]:
        """The object under ``switched``."""
        return {"time": self.time, "who": self.who, "why": self.why, "run": self.run, "verb": self.verb,
                "from": self.before}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A release on a host; ``about`` is its release.json: image, digest, model, content_id, args, port, gpus, …

    ``number`` is 0 where it has none (it was staged before there were numbers, and none came after it); ``staged_at``
    is in UTC, ISO 8601; ``switched`` is None where it never was current, or nobody wrote that down.
    """

    instance: str
    release: str
    current: bool = False
    good: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    staged_at: str = ""
    switched: Switch | None = None


def read(answer: str) -> tuple[Known, ...]:
    """The releases in the answer to :data:`SCRIPT`, the highest number first; lines that are not whole are left out."""
    found: list[Known] = []
    switches: dict[tuple[str, str], Switch] = {}
    for line in answer.splitlines():
        kind, _, words = line.partition("+=")
        if kind == "release":
            instance, release, marks, number, staged, about = (*words.split(" ", 5), *[""] * 6)[:6]
            told = _object(about)
            if told is not None and number.isdigit() and staged.isdigit():
                has, at = marks.split(","), datetime.fromtimestamp(int(staged), timezone.utc).isoformat()
                found.append(Known(instance, release, "current" in has, "good" in has, told, int(number), at))
        elif kind == "switch":
            instance, _, about = words.partition(" ")
            told = _object(about) or {}
            names = ("time", "who", "why", "run", "verb", "from")
            if told.get("release"):
                switches[instance, str(told["release"])] = Switch(*(str(told.get(name, "")) for name in names))
    known = [replace(release, switched=switches.get((release.instance, release.release))) for release in found]
    order = {name: place for place, name in enumerate(dict.fromkeys(release.instance for release in known))}
    # A mended release looks new by its directory's time, never by its number.
    return tuple(sorted(known, key=lambda release: (order[release.instance], -release.number)))


def ask(transport: Transport) -> tuple[Known, ...]:
    """The releases of a host, in one command.

    Raises:
        HostError: the host can't be asked.
    """
    reply = transport.run(f"{PREAMBLE}\n( {SCRIPT}\n)\necho end=yes")
    if "end=yes" not in reply.stdout:
        raise CommandFailed(
            "its releases can't be read", command="(releases)", status=reply.status, stderr=reply.stderr,
            where=transport.name,
        )  # fmt: skip
    return read(reply.stdout)


def note_switch(
    transport: Transport,
    instance: str,
    release: str,
    *,
    owner: Owner,
    run: str,
    why: str,
    verb: Verb,
    before: str | None = None,
    root: str = INSTANCES,
) -> None:
    """Write down on the host that ``instance`` was brought to ``release``.

    ``before`` is the release that it came from; where it isn't said, the last line that is there tells.

    Raises:
        HostError: it can't be written.
    """
    base, told = quote(f"{root}/{instance}"), quote(release)
    seen = transport.run(
        f"cd {base} && {{ cat releases/{told}/number || echo 0; tail -n 1 history.jsonl; }} 2>/dev/null"
    )
    number, _, last = seen.stdout.partition("\n")
    line = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "who": owner.who,
        "run": run,
        "why": why,
        "verb": verb,
        "release": release,
        "number": int(number) if number.strip().isdigit() else 0,
        "from": before if before is not None else str((_object(last) or {}).get("release", "")),
    }
    text = json.dumps(line, ensure_ascii=False) + "\n"
    # A line that a crash cut off is ended first, so that it spoils no other.
    whole = '[ ! -s history.jsonl ] || [ -z "$(tail -c 1 history.jsonl)" ] || echo'
    script = f"cd {base} && {{ {whole}; cat; }} >> history.jsonl"
    reply = transport.run(f"{PREAMBLE}; umask 022; {script}", text.encode())
    if not reply.ok:
        raise CommandFailed(
            f"the switch of {instance} could not be written down", command=script, status=reply.status,
            stderr=reply.stderr, where=transport.name,
        )  # fmt: skip


def previous(known: Sequence[Known], instance: str) -> Known | None:
    """Where to go back to, or None: the good release where the current one isn't good; else the one that served before.

    What was only staged, or put back, is nothing to go back to; without any history the newest other one is.
    """
    own = [release for release in known if release.instance == instance]
    others = [release for release in own if not release.current]
    now = next((release for release in own if release.current), None)
    good = next((release for release in others if release.good), None)
    if good or now is None or not any(release.switched for release in own):
        return good or next(iter(others), None)
    if now.switched and now.switched.verb in ("provision", "rollout"):
        before = next((release for release in others if release.release == now.switched.before), None)
        if before:
            return before
    return next((release for release in others if release.switched and release.number < now.number), None)


def numbered(known: Sequence[Known], instance: str, number: int, *, where: str = "") -> Known:
    """The instance's release of that number.

    Raises:
        UsageError: there is none; it names those that there are.
    """
    own = [release for release in known if release.instance == instance]
    for release in own:
        if release.number == number and number > 0:
            return release
    there = ", ".join(str(release.number) for release in own if release.number) or "none"
    raise UsageError(
        f"{instance} has no release {number}", where=where, hint=f"there are: {there}; ./inv releases shows them"
    )


def differences(old: Known | None, new: Known) -> list[str]:
    """What the newer one is told differently, one line each: ``max-model-len 4096 → 8192``, ``+enforce-eager``.

    Arguments first, then what else a release is made of. Image, model and weights have columns of their own.
    """
    if old is None:
        return []
    before, after = (_arguments(release.about) for release in (old, new))
    lines = []
    for name in sorted({*before, *after}):
        if name not in before:
            lines.append(f"+{name}" + ("" if after[name] is True else f" {_short(after[name])}"))
        elif name not in after:
            lines.append(f"-{name}")
        elif before[name] != after[name]:
            lines.append(f"{name} {_short(before[name])} → {_short(after[name])}")
    for name in ("port", "listen", "served_name", "gpus", "image", "digest", "model", "revision", "content_id"):
        if old.about.get(name) != new.about.get(name):
            lines.append(f"{name} {_short(old.about.get(name))} → {_short(new.about.get(name))}")
    return lines or ["the environment or the unit"]


def still_there(instance: str, release: str) -> str:
    """A script that ends with 0 where the release's image and weights are on the host; else it prints what is gone.

    The release's own before-start names both: what it looks for is looked for here, and nothing is started.
    """
    start = f"{INSTANCES}/{instance}/releases/{release}/before-start"
    return f"""f={start}; [ -x "$f" ] || {{ echo "its files are gone"; exit 1; }}
i=$(sed -n 's/^docker image inspect \\([^ ]*\\) .*/\\1/p' "$f"); w=$(sed -n 's/^\\[ -f \\([^ ]*\\) \\].*/\\1/p' "$f")
timeout 20 docker image inspect "$i" >/dev/null 2>&1 || {{ echo "its image $i is gone"; exit 1; }}
[ -f "$w" ] || {{ echo "its model's files are gone ($w)"; exit 1; }}"""


def patience(transport: Transport, instance: str, release: str, *, root: str = INSTANCES) -> float:
    """Seconds that a release on the host may take until it answers, by its weights' size there; at least half an hour.

    Raises:
        HostError: the host can't be asked.
    """
    start = quote(f"{root}/{instance}/releases/{release}/before-start")
    script = f"""w=$(sed -n 's/^\\[ -f \\([^ ]*\\) \\].*/\\1/p' {start} 2>/dev/null | head -n 1)
[ -z "$w" ] || timeout 60 du -skL "$(dirname "$w")" 2>/dev/null | cut -f 1; :"""
    reply = transport.run(f"{PREAMBLE}\n{script}", timeout=90)
    if not reply.ok:
        raise CommandFailed(
            f"the size of {instance}'s weights can't be read", command=script, status=reply.status,
            stderr=reply.stderr, where=transport.name,
        )  # fmt: skip
    size = reply.stdout.strip()
    return max(1800.0, 900.0 + (int(size) * 1024 / 50e6 if size.isdigit() else 0.0))  # 50 MB/s from a cold disk


def go_back(
    instance: str, release: str, *, patience: float = 1800.0, root: str = INSTANCES, units: str = UNITS
) -> list[Step]:
    """The steps to ``release``, which lies on the host: switch, restart, wait until it serves, remember it as good."""
    return [
        switch_step(instance, release, root=root, units=units),
        *serve_steps(instance, "restart", patience=patience, root=root),
    ]


def _object(text: str) -> dict[str, Any] | None:
    try:
        told = json.loads(text)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _arguments(about: Mapping[str, Any]) -> dict[str, Any]:
    args = about.get("args")
    return dict(args) if isinstance(args, dict) else {}


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
