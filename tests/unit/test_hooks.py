from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from fleet import report, webhooks
from fleet.errors import Findings, HookFailed
from fleet.hooks import Event, check, fire, hooks_of
from fleet.settings import HostSettings
from fleet.settings.hooks import Hook
from tests.server import Request, Response, serve

EVENT = Event("failure", "r1", "h1", "canary 1", "me@here", 'a "new"\nimage $(false) 更快', {"gate": "/health"})


def hook(**told: Any) -> Hook:
    return Hook.model_validate({"events": ["failure"], **told})


def program(path: Path, script: str, name: str = "tell") -> str:
    file = path / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_an_executable_gets_the_event_as_json_and_in_its_environment(tmp_path: Path) -> None:
    tell = program(tmp_path, f"cat > {tmp_path}/given; env -0 > {tmp_path}/env")
    assert fire([hook(run=tell)], EVENT) == []
    assert json.loads((tmp_path / "given").read_text()) == EVENT.as_json()
    env = dict(pair.split("=", 1) for pair in (tmp_path / "env").read_text().split("\0") if pair)
    told = {name: env[f"FLEET_{name}"] for name in ("EVENT", "RUN", "HOST", "WAVE", "WHO", "WHY")}
    assert told == {
        "EVENT": "failure",
        "RUN": "r1",
        "HOST": "h1",
        "WAVE": "canary 1",
        "WHO": "me@here",
        "WHY": EVENT.why,
    }


def test_only_those_who_want_to_know_are_told_each_once_and_in_order(tmp_path: Path) -> None:
    one, two = (hook(run=program(tmp_path, f"echo {n} >> {tmp_path}/told", n)) for n in ("one", "two"))
    other = hook(run=program(tmp_path, f"echo other >> {tmp_path}/told", "other"), events=["paused", "host-begins"])
    assert fire([two, other, one, two], EVENT) == []
    assert (tmp_path / "told").read_text().split() == ["two", "one"]


def test_an_executable_that_fails_is_a_warning_with_its_last_words(tmp_path: Path) -> None:
    tell = program(tmp_path, "echo one; echo 'no such channel' >&2; exit 3")
    missing = str(tmp_path / "gone")
    assert fire([hook(run=tell), hook(run=missing)], EVENT) == [
        f"the hook {tell}: it ended with 3: no such channel",
        f"the hook {missing}: it can't be run: No such file or directory",
    ]


def test_a_required_one_that_fails_stops_what_asked_and_the_others_are_told_all_the_same(tmp_path: Path) -> None:
    no = program(tmp_path, "echo 'outside the window'; exit 1", "no")
    after = program(tmp_path, f"touch {tmp_path}/told", "after")
    with pytest.raises(HookFailed, match="no: it ended with 1: outside the window") as error:
        fire([hook(run=no, required=True), hook(run=after)], EVENT)
    assert "required" in error.value.hint
    assert (tmp_path / "told").exists()
    assert fire([hook(run=after, required=True)], EVENT) == []


@pytest.mark.parametrize(
    ("event", "advice"),
    [
        ("rollout-begins", "./inv rollout begins it"),
        ("wave-begins", "./inv rollout.resume --run r7 goes on, or ./inv rollout.abort --run r7 ends it"),
        ("host-begins", "./inv rollout begins another"),
    ],
)
def test_a_refusal_says_what_to_type_for_what_it_stopped(tmp_path: Path, event: str, advice: str) -> None:
    no = program(tmp_path, "exit 1")
    with pytest.raises(HookFailed) as error:
        fire([hook(run=no, required=True, events=(event,))], Event.of(event, {}, run="r7", who="me", why=""))
    assert advice in error.value.hint


def test_an_executable_that_takes_too_long_is_ended_with_all_that_it_began(tmp_path: Path) -> None:
    tell = program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait")
    began = time.monotonic()
    assert fire([hook(run=tell, timeout=1)], EVENT) == [f"the hook {tell}: it took longer than 1 s and was ended"]
    assert time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("its child still runs")


def test_what_an_executable_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    tell = program(tmp_path, f"sleep 8 & echo $! > {tmp_path}/child; exit 0")
    began = time.monotonic()
    assert fire([hook(run=tell)], EVENT) == []
    assert time.monotonic() - began < 6
    os.kill(int((tmp_path / "child").read_text()), 9)


def test_a_secret_that_an_executable_says_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "secrets", {"k3y-of-the-fleet"})
    tell = program(tmp_path, "echo using k3y-of-the-fleet; exit 1")
    assert fire([hook(run=tell)], EVENT) == [f"the hook {tell}: it ended with 1: using ********"]


def test_a_webhook_that_drips_is_given_up_and_the_others_were_told_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "DEADLINE", 1.0)

    def drip(request: Request) -> Response:
        if request.path == "/slow":
            time.sleep(4)
        return Response(b"{}")

    with serve(drip) as server:
        slow, fast = (hook(url=f"http://127.0.0.1:{server.port}/{name}") for name in ("slow", "fast"))
        began = time.monotonic()
        warnings = fire([slow, fast], EVENT)
        assert time.monotonic() - began < 3
        assert {request.path for request in server.asked} == {"/slow", "/fast"}
    (words,) = warnings
    assert words.startswith("the generic webhook at 127.0.0.1: ")


def test_a_byte_now_and_then_does_not_make_a_deadline_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "DEADLINE", 1.0)

    def drip(*_: object, **__: object) -> str:
        time.sleep(5)
        return ""

    monkeypatch.setattr(webhooks, "send", drip)
    began = time.monotonic()
    words = fire([hook(url="http://127.0.0.1:9/")], EVENT)
    assert words == ["the generic webhook at 127.0.0.1: no answer within 1 s"]
    assert time.monotonic() - began < 3


def test_a_bug_in_sending_is_a_warning_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "send", lambda *_, **__: 1 // 0)
    assert fire([hook(url="http://127.0.0.1:9/")], EVENT) == [
        "the generic webhook at 127.0.0.1: it could not be told: ZeroDivisionError"
    ]


def test_a_host_has_its_own_hooks_and_a_rollout_those_of_all_each_once() -> None:
    def told(*names: str) -> HostSettings:
        return HostSettings.model_validate({"hooks": [{"run": name} for name in names]})

    settings = {"h1": told("a", "b"), "h2": told("b", "c"), "h3": told()}
    assert [h.run for h in hooks_of(settings)] == ["a", "b", "c"]
    assert [h.run for h in hooks_of(settings, "h2")] == ["b", "c"]
    assert hooks_of(settings, "h3") == []


def test_an_event_is_made_from_what_a_rollout_tells() -> None:
    made = Event.of("failure", {"host": "h1", "gate": "x"}, run="r", who="me", why="w")
    assert (made.host, made.wave, dict(made.details)) == ("h1", "", {"gate": "x"})
    with pytest.raises(ValueError, match="no event 'failed'"):
        Event.of("failed", {}, run="r", who="me", why="w")


def test_what_can_not_work_is_found_before_anything_is_begun(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    (tmp_path / "own.j2").write_text('{"a": "{{ text }}"}')
    good = [hook(run=program(tmp_path, ":")), hook(url="https://oapi.dingtalk.com/x", body="dingtalk", secret="s")]
    check(good)
    wrong = [
        hook(run=str(tmp_path / "gone")),
        hook(run=str(tmp_path / "plain")),
        hook(run=str(tmp_path)),
        hook(url="https://h/", body=str(tmp_path / "own.j2")),
        hook(url="https://h/", body=str(tmp_path / "none.j2")),
        hook(url="https://h/", secret="s"),
    ]
    with pytest.raises(Findings) as error:
        check([*good, *wrong])
    assert len(error.value.errors) == len(wrong)
