"""What people read of a rollout: its waves, where it stands, and the verdict on one screen. Text in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleet.rollout.journal import Story
from fleet.rollout.run import Outcome
from fleet.rollout.turn import At
from fleet.rollout.waves import Wave

_MOST_LINES = 12


def waves(planned: Sequence[Wave], unseen: Sequence[str] = ()) -> str:
    """The waves, one a line; what waits on the hosts ``unseen`` nobody knows."""
    unknown = [f"What waits is not known of {', '.join(unseen)}: see above."] if unseen else []
    if not planned:
        return "\n".join(unknown or ["Nothing waits for a rollout."])
    width = max(len(wave.name) for wave in planned)
    lines = [f"  {wave.name.ljust(width)}  {', '.join(wave.hosts)}" for wave in planned]
    return "\n".join([f"Waves: {len(planned)}, {sum(len(w.hosts) for w in planned)} hosts", *lines, *unknown])


def targets(told: Mapping[str, Mapping[str, str]]) -> str:
    """What goes back to which release."""
    lines = [f"  {host}: {name} to release {release}" for host, own in told.items() for name, release in own.items()]
    return "\n".join(["Back to:", *lines]) if lines else "Nothing to go back to: no host has another release."


def line(told: Mapping[str, Any]) -> str:
    """One line of the journal for people; empty for those that say nothing new."""
    at, event = str(told.get("time", ""))[11:19], told["event"]
    host = str(told.get("host", ""))
    if event == "step":
        return f"{at}  {host}: {told['at']}"
    if event == "gate":
        return f"{at}  {host}: {'✓' if told['passed'] else '✗'} {told['gate']}: {told['words']}"
    if event == "wave":
        return f"{at}  {told['name']}: {', '.join(told['hosts'])}"
    if event in ("end", "failed"):
        return f"{at}  {host}: {told.get('words', '')}"
    if event == "begin":
        return f"{at}  {told.get('doing', 'rollout')} of {told.get('who', '')}: {', '.join(told.get('members', ()))}"
    return f"{at}  {event}" + (f": {told['reason']}" if told.get("reason") else "")


def standing(story: Story) -> str:
    """Where each host is, and how the rollout stands."""
    width = max((len(host) for host in story.steps), default=0)
    lines = [f"  {host.ljust(width)}  {story.ends.get(host, at).value}" for host, at in story.steps.items()]
    return "\n".join([f"rollout {story.run}: {story.state}", *lines])


def screen(outcome: Outcome) -> str:
    """The verdict: which gate, which host, the lines that matter, and what to type."""
    count = {end: sum(e is end for e in outcome.ends.values()) for end in At if end.is_end}
    parts = [f"{number} {_SAID[end]}" for end, number in count.items() if number]
    untouched = sum(bool(result.skipped) and name not in outcome.ends for name, result in outcome.results.items())
    if untouched:
        parts.append(f"{untouched} left as they were")
    if not parts and outcome.state == "done":
        parts.append("nothing was to do")
    lines = ["\n" + ": ".join(filter(None, (_TITLES.get(outcome.state, outcome.state), ", ".join(parts))))]
    if outcome.reason:
        lines.append(f"  {outcome.reason}")
    for name, end in outcome.ends.items():
        failures = outcome.results[name].failures if name in outcome.results else []
        if end is At.DONE or not failures:
            continue
        first = failures[0]
        lines.append(f"\n✗ {name}: {first.resource}: {first.message}")
        lines.extend(f"    | {text}" for text in first.stderr.splitlines()[-_MOST_LINES:])
        lines.append(f"    → {first.hint}")
    return "\n".join(lines)


_TITLES = {"done": "DONE", "stopped": "STOPPED", "paused": "PAUSED", "aborted": "ABORTED", "open": "OPEN"}
_SAID = {
    At.DONE: "serve the new release",
    At.KEPT: "left as they were",
    At.REVERTED: "put back, and serving the old release",
    At.STRANDED: "serving, with a gateway that can't be told",
    At.BROKEN: "not serving",
}
