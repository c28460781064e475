"""The gates between a new release and its requests: one after another, each with its own deadline and reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from fleet.errors import HostError
from fleet.rollout.ask import ask
from fleet.rollout.judge import (
    Judged,
    Limits,
    Measured,
    judge_answers,
    judge_chat,
    judge_models,
    judge_speed,
)
from fleet.rollout.live import Live
from fleet.rollout.look import (
    Look,
    is_hopeless,
    judge_container,
    judge_health,
    judge_port,
    judge_steady,
    judge_unit,
    look,
)
from fleet.rollout.measure import measure, measure_speed
from fleet.rollout.trouble import Cause, trouble
from fleet.transport import Transport

#: Seconds: one look; one answer of a server that was just started; all fixed prompts and streams.
_LOOK: Final = 30.0
_CHAT: Final = 120.0
_MEASURE: Final = 300.0
#: How long a stretch of watching is: between two of them it is said how far we are, and the host is looked at.
_STRETCH: Final = 10.0
#: How long Docker may be away, or the host silent, before what is known of the release is not enough.
_SILENCE: Final = 90.0
#: Until systemd has said how a service ended.
_WRITTEN: Final = 3.0
#: How long Docker may be away while a release is asked, and what its client says then.
_DOCKER_AWAY: Final = 45.0
_DOCKER_SAYS: Final = ("No such exec instance", "Docker daemon", "unexpected EOF", "docker daemon")
#: A slow moment is no slow release: so many measurements of speed before it is called one.
_MEASUREMENTS: Final = 3


T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """What a gate said, and how long it took; where it failed, the log's lines that matter and what may be behind."""

    gate: str
    passed: bool
    words: str
    seconds: float
    lines: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()


def _models(found: Look, live: Live) -> Judged:
    answer = found.said.get("models")
    if not answer or answer["status"] != 200:
        said = (answer["status"] or f"no answer ({answer['body']})") if answer else f"not asked ({found.error})"
        return False, f"/v1/models: {said}"
    return judge_models(answer["body"], live)


#: What is judged of a look, in order.
_STANDING: Final[tuple[tuple[str, Callable[[Look, Live], Judged]], ...]] = (
    ("unit", judge_unit),
    ("container", judge_container),
    ("port", judge_port),
    ("health", judge_health),
    ("models", _models),
)


def gates(
    transport: Transport,
    live: Live,
    before: Measured | None,
    same_model: bool,
    limits: Limits,
    say: Callable[[str], None],
    *,
    since: float | None = None,
) -> Iterator[Verdict]:
    """Each gate's verdict as it comes; after the first that failed there are no more.

    ``before`` is what the old release was measured at (see :func:`~fleet.rollout.judge.fair`), ``since`` the host's
    clock when the new one was started: what the log said before isn't its fault. By default its container's start.
    """
    run = _Run(transport, live, limits, say, since)
    for verdict in run.all(before, same_model):
        if verdict.passed:
            yield verdict
            continue
        yield run.explained(verdict)
        return


class _Run:
    """One walk through the gates; ``first`` is the first look at a healthy release."""

    def __init__(
        self, transport: Transport, live: Live, limits: Limits, say: Callable[[str], None], since: float | None
    ) -> None:
        self.transport, self.live, self.limits, self.say, self.since = transport, live, limits, say, since
        self.first = Look()
        self.healthy_at = 0.0

    def all(self, before: Measured | None, same_model: bool) -> Iterator[Verdict]:
        """All gates in order; who calls stops at the first that failed."""
        yield from self.standing()
        yield from self.chats()
        yield from self.compared(before, same_model)
        yield self.steady()

    def standing(self) -> Iterator[Verdict]:
        """Unit, container, port, health, models: looked at until they are well, hopeless, or out of time."""
        left, began, started = list(_STANDING), time.monotonic(), time.monotonic()
        while True:
            self.first = look(self.transport, self.live, "port", "health", "models", seconds=_LOOK)
            self.healthy_at = time.monotonic()
            words = ""
            while left:
                gate, judge = left[0]
                passed, words = judge(self.first, self.live)
                if not passed:
                    break
                yield Verdict(gate, True, words, time.monotonic() - began)
                began = time.monotonic()
                del left[0]
            if not left:
                return
            # A server says its models from its first word on: what is wrong there stays wrong.
            told_wrong = left[0][0] == "models" and (self.first.said.get("models") or {}).get("status") == 200
            deadline = self.limits.start_seconds if len(left) > 1 else _LOOK
            if told_wrong or is_hopeless(self.first) or time.monotonic() - began > deadline:
                yield Verdict(left[0][0], False, words, time.monotonic() - began)
                return
            self.say(words)
            time.sleep(min(5.0, 1.0 + (time.monotonic() - started) / 20))

    def chats(self) -> Iterator[Verdict]:
        """A text, and a picture where the model has eyes."""
        self.say("asking for a text" + (" and showing a picture" if self.live.vision else ""))
        what = ("text", "image") if self.live.vision else ("text",)
        began = time.monotonic()
        try:
            seconds = len(what) * _CHAT + 10
            found = self.asked(lambda: ask(self.transport, self.live, *what, seconds=seconds, each=_CHAT))
        except HostError as error:
            yield Verdict("text", False, error.message, time.monotonic() - began)
            return
        for gate in what:
            answer = found.get(gate)
            passed, words = judge_chat(answer, {"text": "a text", "image": "a picture"}[gate])
            yield Verdict(gate, passed, words, float((answer or {}).get("seconds") or time.monotonic() - began))

    def compared(self, before: Measured | None, same_model: bool) -> Iterator[Verdict]:
        """The same answers, and as fast."""
        self.say("asking the fixed prompts, and how fast it is")
        began = time.monotonic()
        try:
            after = self.asked(lambda: measure(self.transport, self.live, timeout=_MEASURE))
        except HostError as error:
            yield Verdict("answers", False, error.message, time.monotonic() - began)
            return
        passed, words = judge_answers(before, after, same_model, self.limits.same_answers)
        yield Verdict("answers", passed, words, time.monotonic() - began)
        began = time.monotonic()
        for tried in range(1, _MEASUREMENTS + 1):
            passed, words = judge_speed(before, after, self.limits)
            if passed or tried == _MEASUREMENTS:
                break
            self.say(f"{words}: measuring again")
            try:
                again = self.asked(lambda: measure_speed(self.transport, self.live, timeout=_MEASURE))
                after = after.better_of(again)
            except HostError as error:
                passed, words = False, error.message
                break
        yield Verdict("speed", passed, words, time.monotonic() - began)

    def asked(self, ask_it: Callable[[], T]) -> T:
        """Once more where Docker was away while it was asked: that says nothing of the release.

        Raises:
            HostError: it still can't be asked.
        """
        until = time.monotonic() + _DOCKER_AWAY
        while True:
            try:
                return ask_it()
            except HostError as error:
                said = f"{error.message} {getattr(error, 'stderr', '')}"
                if time.monotonic() > until or not any(words in said for words in _DOCKER_SAYS):
                    raise
                self.say("Docker was away: asking again")
                time.sleep(2.0)

    def steady(self) -> Verdict:
        """Watched until it has been healthy for long enough; the gates before this one count."""
        began = time.monotonic()
        until = self.healthy_at + self.limits.min_healthy
        silent_until = began + _SILENCE
        since = self.since if self.since is not None else self.first.began
        while True:
            left = max(0.0, until - time.monotonic())
            self.say(f"watching it for {left:.0f} s more")
            wait = min(_STRETCH, left)
            now = look(self.transport, self.live, "steady", seconds=wait + _LOOK, since=since, wait=wait)
            passed, words = judge_steady(self.first, now, self.live)
            if _nothing_known(now) and time.monotonic() < silent_until:
                self.say(words)
                time.sleep(2.0)
                continue
            silent_until = time.monotonic() + _SILENCE
            if passed and time.monotonic() < until:
                continue
            words += f", for {self.limits.min_healthy:.0f} s" if passed else ""
            return Verdict("steady", passed, words, time.monotonic() - began)

    def explained(self, verdict: Verdict) -> Verdict:
        """With the lines of the log that matter, where the host can still be asked."""
        since = self.since if self.since is not None else self.first.began or max(0.0, self.first.clock - 900)
        try:
            found = trouble(self.transport, self.live.instance, since)
            if not found.lines:  # what broke a moment ago may not have been written down yet
                time.sleep(_WRITTEN)
                found = trouble(self.transport, self.live.instance, since)
        except HostError:
            return verdict
        return replace(verdict, lines=found.lines, causes=found.causes)


def _nothing_known(found: Look) -> bool:
    """Whether a look says nothing of the release: no connection, no Docker, or Docker went away while it was asked."""
    if found.seen.get("ActiveState", "active") != "active":
        return False
    return not found.seen or found.docker_away or ("steady" not in found.said and found.seen.get("running") == "true")
