"""Each gate lets through what is as good as before, stops what isn't by its own name, and none is asked after that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.rollout import gates as module
from fleet.rollout.gates import Verdict, gates
from fleet.rollout.judge import Limits, Measured
from fleet.rollout.look import Look, epoch, faults_of, judge_steady
from fleet.rollout.measure import measure
from fleet.transport.fake import FakeTransport
from tests.talker import ACTIVE, RUNS, Talker, TalkersHost, live_at, talking

ORDER = ["unit", "container", "port", "health", "models", "text", "image", "answers", "speed", "steady"]
LIMITS = Limits(min_healthy=0.5, start_seconds=0.1)
FAILED = "ActiveState=failed\nSubState=failed\nNRestarts=0\nResult=exit-code\n"
AGAIN = "ActiveState=activating\nSubState=auto-restart\nNRestarts=1\nResult=exit-code\n"
XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid=812, GPU has fallen off the bus."


@pytest.fixture
def host(tmp_path: Path) -> TalkersHost:
    return TalkersHost(tmp_path)


@pytest.fixture
def talker() -> Iterator[Talker]:
    with talking(Talker()) as server:
        yield server


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """What the old release was measured at: its real answers, and a speed that this machine reaches when busy too."""
    with talking(Talker()) as server:
        answers = measure(TalkersHost(tmp_path_factory.mktemp("before")), live_at(server)).answers
    return Measured(answers, 0.05, 400.0)


def walked(
    host: TalkersHost, talker: Talker, before: Measured | None = None, *, limits: Limits = LIMITS, **live: Any
) -> list[Verdict]:
    return list(gates(host, live_at(talker, **live), before, before is not None, limits, lambda _: None))


def test_a_release_as_good_as_before_passes_all_gates_in_order(
    host: TalkersHost, talker: Talker, before: Measured
) -> None:
    verdicts = walked(host, talker, before)
    assert [verdict.gate for verdict in verdicts] == ORDER
    assert all(verdict.passed and verdict.words and verdict.seconds >= 0 for verdict in verdicts)
    assert "9 of 9 prompts answered as before" in verdicts[7].words
    assert not any(verdict.lines for verdict in verdicts)


def test_few_commands_are_needed(host: TalkersHost, talker: Talker) -> None:
    walked(host, talker)
    assert host.commands <= 4


def test_a_model_without_eyes_is_shown_no_picture(host: TalkersHost, talker: Talker) -> None:
    assert [verdict.gate for verdict in walked(host, talker, vision=False)] == [g for g in ORDER if g != "image"]


def changed(name: str, value: Any) -> Callable[[TalkersHost, Talker], None]:
    return lambda _, talker: setattr(talker, name, value)


def said(what: str, text: str | None) -> Callable[[TalkersHost, Talker], None]:
    return lambda host, _: host.says(what, text)


@pytest.mark.parametrize(
    ("gate", "words", "fault"),
    [
        ("unit", "is failed (failed, exit-code)", said("unit", FAILED)),
        ("unit", "is activating (auto-restart", said("unit", AGAIN)),
        ("container", "container fleet-qwen doesn't run", said("container", None)),
        ("container", "release r1 runs, r2 is current", said("container", RUNS.replace("=r2", "=r1"))),
        ("container", "Docker doesn't answer: Cannot connect", said("away", "")),
        ("port", "takes no connections", changed("url", "http://127.0.0.1:9")),
        ("health", "/health: 503", changed("health", 503)),
        ("models", "it serves 'gwen', not 'vl'", changed("names", ("gwen",))),
        ("text", "500 (it says no)", changed("chat", 500)),
        ("answers", "nonsense in answer to count", changed("nonsense", True)),
        ("answers", "0 of 9 prompts answered as before, 7 are wanted", changed("other", "another model")),
        ("speed", "20% is allowed", changed("pace", 200)),
        ("steady", f"the kernel says: {XID}", said("kernel", XID + "\n")),
        ("steady", "out of memory", said("container", RUNS.replace("oom=false", "oom=true"))),
    ],
)  # fmt: skip
def test_a_release_that_is_worse_is_stopped_by_the_gate_for_it(
    host: TalkersHost,
    talker: Talker,
    before: Measured,
    gate: str,
    words: str,
    fault: Callable[[TalkersHost, Talker], None],
) -> None:
    host.says("log", "INFO all is well\nvllm.EngineDeadError: EngineCore encountered an issue.\n")
    fault(host, talker)
    verdicts = walked(host, talker, before)
    assert [verdict.gate for verdict in verdicts] == ORDER[: ORDER.index(gate) + 1]
    assert [verdict.passed for verdict in verdicts] == [True] * (len(verdicts) - 1) + [False]
    assert words in verdicts[-1].words
    assert "EngineDeadError" in verdicts[-1].lines[0]
    assert verdicts[-1].causes


def test_a_start_is_waited_for_until_its_deadline(host: TalkersHost, talker: Talker) -> None:
    talker.health = 503
    timer = threading.Timer(1.0, lambda: setattr(talker, "health", 200))
    timer.start()
    limits = Limits(min_healthy=0, start_seconds=30)
    assert [v.gate for v in walked(host, talker, limits=limits)] == ORDER
    timer.join()


def test_a_unit_that_systemd_starts_again_and_again_is_not_waited_for(host: TalkersHost, talker: Talker) -> None:
    host.says("unit", AGAIN.replace("=1", "=2"))
    (only,) = walked(host, talker, limits=Limits(start_seconds=600))
    assert (only.gate, only.passed) == ("unit", False)
    assert only.seconds < 10


def test_a_slow_moment_is_no_slow_release(host: TalkersHost, talker: Talker) -> None:
    before = Measured({}, 0.05, 400)
    talker.pace = 150
    said: list[str] = []

    def say(words: str) -> None:
        said.append(words)
        if "measuring again" in words:
            talker.pace = 1000

    verdicts = list(gates(host, live_at(talker), before, False, LIMITS, say))
    assert verdicts[-1].gate == "steady"
    assert sum("measuring again" in words for words in said) == 1


@pytest.mark.parametrize(
    "fault",
    [
        said("container", None),
        said("container", RUNS.replace("05:00", "05:01")),
        said("unit", ACTIVE.replace("NRestarts=0", "NRestarts=1")),
        said("unit", ACTIVE.replace("=active", "=failed")),
        changed("health", 500),
    ],
)
def test_who_dies_while_watched_does_not_pass(
    host: TalkersHost, talker: Talker, fault: Callable[[TalkersHost, Talker], None]
) -> None:
    def say(words: str) -> None:
        if "watching" in words:
            threading.Timer(0.1, lambda: fault(host, talker)).start()

    verdicts = list(gates(host, live_at(talker), None, False, Limits(min_healthy=2.5), say))
    assert (verdicts[-1].gate, verdicts[-1].passed) == ("steady", False)


def test_docker_that_is_away_for_a_moment_says_nothing_about_the_release(host: TalkersHost, talker: Talker) -> None:
    def say(words: str) -> None:
        if "watching" in words and not came_back:
            host.says("away", "")
            came_back.append(threading.Timer(1.0, lambda: host.says("away", None)))
            came_back[0].start()

    came_back: list[threading.Timer] = []
    verdicts = list(gates(host, live_at(talker), None, False, Limits(min_healthy=1), say))
    assert [verdict.gate for verdict in verdicts] == ORDER
    assert verdicts[-1].passed
    came_back[0].join()


def test_docker_that_stays_away_is_no_pass(host: TalkersHost, talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    say: Callable[[str], None] = lambda words: host.says("away", "") if "watching" in words else None  # noqa: E731 — handed on as it stands
    verdicts = list(gates(host, live_at(talker), None, False, LIMITS, say))
    assert (verdicts[-1].gate, verdicts[-1].passed) == ("steady", False)
    assert "Docker doesn't answer" in verdicts[-1].words


def test_a_host_that_cannot_be_reached_fails_the_first_gate_in_words() -> None:
    transport = FakeTransport("h1", [])
    transport.close()
    (only,) = gates(transport, live_at(Talker(url="http://127.0.0.1:1")), None, False, LIMITS, lambda _: None)
    assert (only.gate, only.passed) == ("unit", False)
    assert "the connection was closed" in only.words


def test_the_kernel_is_asked_since_the_release_was_started(host: TalkersHost, talker: Talker) -> None:
    asked: list[str] = []
    run = host.run

    def listening(command: str, stdin: bytes | None = None, *, timeout: float = 60.0) -> Any:
        asked.append(command)
        return run(command, stdin, timeout=timeout)

    host.run = listening  # type: ignore[method-assign]  # what is asked is listened to
    list(gates(host, live_at(talker), None, False, LIMITS, lambda _: None))
    began = epoch("2026-11-23T05:00:00.5Z")
    assert f"--since=@{began:.0f}" in asked[-1]


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (XID, True),
        ("oom-kill:constraint=CONSTRAINT_NONE,task=VLLM,pid=7", True),
        ("oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/docker/c0ffee,task=python3", True),
        ("oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/docker/another,task=python3", False),
        ("usb 1-1: new device", False),
    ],
)
def test_what_is_killed_in_other_containers_is_not_ours(line: str, counts: bool) -> None:
    assert bool(faults_of((line,), "c0ffee")) is counts


def test_a_look_that_saw_nothing_is_never_steady() -> None:
    assert not judge_steady(Look(), Look(), live_at(Talker()))[0]
    assert not judge_steady(Look(), Look(error="gone"), live_at(Talker()))[0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-01T00:01:00Z", 60.0), ("1970-01-01T00:00:01.25Z", 1.25), ("0001", 0.0), ("", 0.0)],
)
def test_dockers_time_is_read(text: str, seconds: float) -> None:
    assert epoch(text) == seconds
