"""A rollout that broke off, taken up by the verbs: here, or on another machine from what the hosts remember alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

import tasks  # noqa: F401 — gives the verbs their roles
from fleet import releases, views
from fleet.cli import rollout as verbs
from fleet.cli import rollout_taking_up, session
from fleet.cli.rolling import Rolling
from fleet.errors import FleetError, Unreachable
from fleet.gateway.balancer import ServerState
from fleet.plan import HostPlan, PlannedChange
from fleet.provision import HostResult
from fleet.resource import Change
from fleet.rollout import drive, gates, journal
from fleet.rollout.gates import Verdict
from fleet.rollout.journal import Journal, JournalLost, Story
from fleet.rollout.judge import Measured
from fleet.rollout.live import Live
from fleet.rollout.marker import PATH
from fleet.rollout.turn import At
from fleet.survey import Survey
from fleet.transport import Transport
from fleet.transport.fake import FakeTransport

NEW, OLD = "bbb", "aaa"
HOSTS = ("h1", "h2", "h3", "h4")
VARIABLES = {"image": {"ref": "vllm/vllm-openai:v0.8.2", "digest": f"sha256:{'0' * 64}", "cuda": "12.4"}}


class Killed(BaseException):
    """This program is gone from one moment to the next: nothing that it would still do is done."""


class Fleet:
    """Hosts with a release and a marker each; ``did`` is what was done. ``cut``: whose switch kills us."""

    verb: releases.Verb = "rollout"

    def __init__(self) -> None:
        self.current = dict.fromkeys(HOSTS, OLD)
        self.markers: dict[str, str] = {}
        self.did: list[str] = []
        self.prepared: list[list[str]] = []
        self.wanted = NEW
        self.away: set[str] = set()  #: can't be looked at
        self.gone: set[str] = set()  #: no way in at all
        self.cut: tuple[str, ...] = ()
        self.together = threading.Barrier(1)

    def killed_at(self, *hosts: str) -> None:
        """From now on, in the middle of the switches of these hosts, all of which have begun."""
        self.cut, self.together = hosts, threading.Barrier(len(hosts))

    def transport(self, name: str) -> FakeTransport:
        """A host that keeps its marker."""

        def mark(command: str, stdin: bytes | None) -> str:
            if stdin is not None:
                self.markers[name] = stdin.decode()
            elif "rm -f" in command:
                self.markers.pop(name, None)
            return self.markers.get(name, "")

        def known(command: str, stdin: bytes | None) -> str:
            marks = {release: "-,current,good" if release == self.current[name] else "-" for release in (NEW, OLD)}
            return "".join(f"release+=qwen {r} {m} 1 7 {{}}\n" for r, m in marks.items()) + "end=yes\n"

        def lost(command: str, stdin: bytes | None) -> str:
            raise Unreachable("no route to host", where=name)

        if name in self.gone:
            return FakeTransport(name, [("", lost)])
        answers = [("flock", "locked"), (PATH, mark), ("release\\+=", known), ("date", "7"), ("", "")]
        return FakeTransport(name, answers)  # type: ignore[arg-type]  # each is an Answer

    def switch(
        self, host: str, transport: Transport, lock: Any, result: HostResult, say: Callable[[str], None]
    ) -> None:
        self.did.append(f"{host} switch")
        self.current[host] = self.wanted
        if host in self.cut:
            self.together.wait(10)
            raise Killed

    def bring_back(self, transport: Transport, targets: Mapping[str, str], *_: Any, **__: Any) -> list[str]:
        assert targets == {"qwen": OLD}
        self.did.append(f"{transport.name} back")
        self.current[transport.name] = OLD
        return ["qwen"]

    def seen(self, name: str) -> Survey | FleetError:
        """What a look at the host finds: something waits where it doesn't serve what is wanted."""
        if name in self.away:
            return Unreachable("no route to host", where=name)
        waits = (PlannedChange(Change("current:qwen", "switch", "", interrupts=("instance qwen",)), ""),)
        told = SimpleNamespace(site="", instances=[SimpleNamespace(name="qwen", served_name="m")])
        target = SimpleNamespace(name=name, facts=SimpleNamespace(gpus=[SimpleNamespace(name="A10")]), settings=told)
        plan = HostPlan(name, waits=waits if self.current[name] != self.wanted else ())
        return Survey(target, (), plan)  # type: ignore[arg-type]  # as much of a target as a class of hosts needs

    def prepare(self, surveys: Mapping[str, object]) -> dict[str, HostResult]:
        self.prepared.append(sorted(surveys))
        return {name: HostResult(ok=1, unreachable=int(name in self.away)) for name in surveys}

    def at(self, host: str) -> str:
        """What the host remembers of its turn."""
        return str(json.loads(self.markers[host])["at"]) if host in self.markers else ""


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    made = Fleet()

    def all_gates(*_: object) -> Iterator[Verdict]:
        yield Verdict("text", True, "it answers", 0.1)

    def live(transport: Transport, instance: str) -> Live:
        return Live(instance, made.current[transport.name], "http://h:1", "m", False, None, "m", "")

    monkeypatch.setattr(session, "connector", lambda *_: made.transport)
    monkeypatch.setattr(session.Session, "survey_all", lambda self, **_: {name: made.seen(name) for name in self.names})
    monkeypatch.setattr(views, "show_plan", lambda *_, **__: None)
    monkeypatch.setattr(Rolling, "prepare", lambda _, surveys: made.prepare(surveys))
    monkeypatch.setattr(Rolling, "serving", lambda _: {"m": dict.fromkeys((*HOSTS, "other"), "")})
    monkeypatch.setattr(Rolling, "to_inventory", lambda _: made)
    monkeypatch.setattr(drive, "live", live)
    monkeypatch.setattr(drive, "measure", lambda *_, **__: Measured({}, 0.1, 50.0))
    monkeypatch.setattr(drive, "in_flight", lambda *_: 0)
    monkeypatch.setattr(drive, "bring_back", made.bring_back)
    monkeypatch.setattr(gates, "gates", all_gates)
    monkeypatch.setattr(releases, "note_switch", lambda *_, **__: None)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return made


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "here"))
    file = tmp_path / "hosts.yml"
    file.write_text(json.dumps({"all": {"hosts": {name: {} for name in HOSTS}, "vars": VARIABLES}}))
    return [str(file)]


def begin(inventory: list[str], **more: Any) -> str:
    """A rollout, to where it breaks off; its run."""
    with pytest.raises((Killed, Exit)):
        verbs.rollout(Context(), inventory=inventory, yes=True, max_unavailable="100%", **more)
    return journal.known()[0]


def story(run: str) -> Story:
    return journal.read(journal.find(run))


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this is another machine, where nothing is known of any rollout."""
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "elsewhere"))
    assert journal.known() == []


def test_an_abort_puts_back_what_had_begun_and_goes_on_to_nobody(fleet: Fleet, inventory: list[str]) -> None:
    fleet.killed_at("h2")
    run = begin(inventory)
    assert (fleet.did, fleet.at("h2"), story(run).closed) == (["h1 switch", "h2 switch"], "switch", False)
    fleet.did.clear()
    verbs.abort(Context(), yes=True)
    assert fleet.did == ["h2 back"]
    assert fleet.current == {"h1": NEW, "h2": OLD, "h3": OLD, "h4": OLD}
    told = story(run)
    assert (told.state, told.ends) == ("aborted", {"h1": At.DONE, "h2": At.REVERTED})
    assert [wave["name"] for wave in told.waves] == ["canary 1", "wave 1"]
    assert fleet.markers == {}


def test_a_resume_of_the_same_ends_its_turn_and_goes_on_to_all_the_others(fleet: Fleet, inventory: list[str]) -> None:
    fleet.killed_at("h2")
    run = begin(inventory)
    fleet.killed_at()
    fleet.did.clear()
    verbs.resume(Context(), yes=True)
    assert (fleet.did[0], set(fleet.did[1:])) == ("h2 switch", {"h3 switch", "h4 switch"})
    assert (set(fleet.current.values()), story(run).state) == ({NEW}, "finished")


def worse(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """From now on this host's new release fails at a gate."""

    def some_gates(transport: Transport, *_: object) -> Iterator[Verdict]:
        is_worse = transport.name == host and fleet.current[host] == NEW
        yield Verdict("speed", not is_worse, "half as fast", 0.1)

    monkeypatch.setattr(gates, "gates", some_gates)


def test_a_resumed_canary_that_is_worse_goes_back_and_nobody_follows(
    fleet: Fleet, inventory: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.killed_at("h1")
    run = begin(inventory)
    fleet.killed_at()
    fleet.did.clear()
    worse(fleet, monkeypatch, "h1")
    with pytest.raises(Exit) as ended:
        verbs.resume(Context(), yes=True)
    assert (ended.value.code, fleet.did) == (1, ["h1 switch", "h1 back"])
    assert (set(fleet.current.values()), story(run).state) == ({OLD}, "finished")
    assert "the canary h1 failed" in capsys.readouterr().out


def test_a_host_that_was_put_back_is_not_tried_again_by_a_resume(
    fleet: Fleet, inventory: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worse(fleet, monkeypatch, "h1")
    fleet.killed_at("h2")
    run = begin(inventory, canaries=False, batch="1", max_fail="1")
    fleet.killed_at()
    fleet.did.clear()
    with pytest.raises(Exit):  # not all of it is well
        verbs.resume(Context(), yes=True)
    assert fleet.did == ["h2 switch", "h3 switch", "h4 switch"]
    assert (story(run).state, story(run).ends["h1"]) == ("finished", At.REVERTED)


def refusing(tmp_path: Path, inventory: list[str], wave: str, event: str = "wave-begins") -> Path:
    """A required hook that has something against this wave for as long as the file lies there that is given back."""
    program, closed = tmp_path / "window", tmp_path / "closed"
    program.write_text(
        f'#!/bin/sh\n[ "$FLEET_WAVE" != "{wave}" ] || [ ! -e {closed} ] || {{ echo "not today"; exit 1; }}\n'
    )
    program.chmod(0o755)
    closed.touch()
    hook = {"run": str(program), "events": [event], "required": True}
    told = {"hosts": {name: {} for name in HOSTS}, "vars": {**VARIABLES, "hooks": [hook]}}
    Path(inventory[0]).write_text(json.dumps({"all": told}))
    return closed


@pytest.mark.parametrize(("wave", "begun"), [("canary 1", []), ("wave 1", ["h1 switch"])])
def test_a_wave_that_a_required_hook_refuses_is_not_touched_and_the_rollout_stays_open(
    fleet: Fleet, inventory: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], wave: str, begun: list[str]
) -> None:
    refusing(tmp_path, inventory, wave)
    with pytest.raises(Exit) as ended:
        verbs.rollout(Context(), inventory=inventory, yes=True)
    run = journal.known()[0]
    assert (ended.value.code, fleet.did, fleet.markers) == (1, begun, {})
    assert journal.open_one() == journal.find(run)
    assert wave not in [one["name"] for one in story(run).waves]
    shown = capsys.readouterr().out
    for words in ("STOPPED", "not today", f"./inv rollout.resume --run {run} ", f"./inv rollout.abort --run {run} "):
        assert words in shown


def test_a_program_reads_the_same_advice(
    fleet: Fleet, inventory: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing(tmp_path, inventory, "wave 1")
    run = begin(inventory, json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["state"], told["ends"]) == (run, "stopped", {"h1": "DONE"})
    assert f"./inv rollout.resume --run {run} " in told["reason"]


def test_what_was_refused_goes_on_by_a_resume_once_the_hook_has_nothing_against_it(
    fleet: Fleet, inventory: list[str], tmp_path: Path
) -> None:
    closed = refusing(tmp_path, inventory, "wave 1")
    run = begin(inventory, canaries=False)
    with pytest.raises(Exit):  # it still is
        verbs.resume(Context(), run=run, yes=True)
    assert (fleet.did, story(run).closed) == ([], False)
    closed.unlink()
    verbs.resume(Context(), run=run, yes=True)
    assert (set(fleet.current.values()), story(run).state) == ({NEW}, "finished")


def test_what_was_refused_after_the_canaries_needs_no_further_canary(
    fleet: Fleet, inventory: list[str], tmp_path: Path
) -> None:
    closed = refusing(tmp_path, inventory, "wave 1")
    run = begin(inventory)
    closed.unlink()
    verbs.resume(Context(), run=run, yes=True)
    assert [wave["canary"] for wave in story(run).waves] == [True] + [False] * (len(story(run).waves) - 1)
    assert (set(fleet.current.values()), story(run).state) == ({NEW}, "finished")


def test_what_was_refused_is_ended_by_an_abort(fleet: Fleet, inventory: list[str], tmp_path: Path) -> None:
    refusing(tmp_path, inventory, "wave 1")
    run = begin(inventory)
    verbs.abort(Context(), run=run, yes=True)
    assert (fleet.did, story(run).state) == (["h1 switch"], "aborted")


def test_a_promotion_that_a_required_hook_refuses_still_pauses_and_is_asked_again(
    fleet: Fleet, inventory: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = refusing(tmp_path, inventory, "", "promotion")
    verbs.rollout(Context(), inventory=inventory, yes=True, pause=True, max_unavailable="100%")
    for verb in (verbs.promote, verbs.resume):
        with pytest.raises(Exit):
            verb(Context(), yes=True)
        assert (fleet.did, story(journal.known()[0]).state) == (["h1 switch"], "paused")
        assert "not today" in capsys.readouterr().err
    closed.unlink()
    verbs.promote(Context(), yes=True)
    assert set(fleet.current.values()) == {NEW}


def test_a_required_hook_that_fails_at_the_end_hides_no_verdict(
    fleet: Fleet, inventory: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing(tmp_path, inventory, "", "rollout-ends")
    run = begin(inventory)
    told = capsys.readouterr()
    assert "DONE" in told.out
    assert "not today" in told.err
    assert (story(run).state, set(fleet.current.values())) == ("finished", {NEW})


def test_an_abort_elsewhere_puts_back_what_the_hosts_say_is_in_the_middle(
    fleet: Fleet, inventory: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.killed_at("h2")
    run = begin(inventory)
    elsewhere(tmp_path, monkeypatch)
    fleet.did.clear()
    verbs.abort(Context(), run=run, hosts="all", inventory=inventory, yes=True)
    assert (fleet.did, fleet.markers) == (["h2 back"], {})
    assert fleet.current == {"h1": NEW, "h2": OLD, "h3": OLD, "h4": OLD}
    assert (story(run).state, story(run).ends) == ("aborted", {"h2": At.REVERTED})


def test_a_resume_elsewhere_ends_the_turns_in_the_middle_and_leaves_the_others_alone(
    fleet: Fleet, inventory: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fleet.killed_at("h2")
    run = begin(inventory)
    before = json.loads(fleet.markers["h2"])["measured"]
    elsewhere(tmp_path, monkeypatch)
    fleet.killed_at()
    fleet.did.clear()
    held_to: list[object] = []
    monkeypatch.setattr(drive, "examine", lambda transport, new, told, *_, **__: held_to.append(told))
    with pytest.raises(Exit) as ended:
        verbs.resume(Context(), run=run, hosts="all", inventory=inventory, yes=True)
    assert (fleet.did, fleet.markers) == (["h2 switch"], {})
    assert fleet.current == {"h1": NEW, "h2": NEW, "h3": OLD, "h4": OLD}
    assert held_to == [before["qwen"]]  # what the old release was like, as the host kept it
    assert (story(run).state, story(run).ends, ended.value.code) == ("finished", {"h2": At.DONE}, 1)
    assert "./inv rollout " in capsys.readouterr().out


def test_hosts_of_one_run_may_be_taken_over_one_after_another(
    fleet: Fleet, inventory: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.killed_at("h2", "h3")
    run = begin(inventory, limit="h2,h3", canaries=False, batch="4")
    elsewhere(tmp_path, monkeypatch)
    for host in ("h2", "h3"):
        verbs.abort(Context(), run=run, hosts=host, inventory=inventory, yes=True)
    assert fleet.current["h2"] == fleet.current["h3"] == OLD
    assert "h3" not in fleet.markers
    assert (story(run).state, story(run).ends) == ("aborted", {"h2": At.REVERTED, "h3": At.REVERTED})


def test_a_rollout_over_hosts_in_the_middle_of_another_names_them_all(
    fleet: Fleet, inventory: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fleet.killed_at("h2", "h3")
    begin(inventory, canaries=False, limit="h2,h3", batch="4")
    elsewhere(tmp_path, monkeypatch)
    run = "20260101T000000Z"  # not of the second in which this test runs
    fleet.markers = {name: json.dumps({**json.loads(told), "run": run}) for name, told in fleet.markers.items()}
    with pytest.raises(Exit) as ended:
        verbs.rollout(Context(), inventory=inventory, yes=True)
    assert ended.value.code == 2
    assert f"--run {run} --hosts h2,h3" in capsys.readouterr().err


def test_a_run_that_no_host_is_in_the_middle_of_is_said_and_leaves_no_journal(
    fleet: Fleet, inventory: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as ended:
        verbs.abort(Context(), run="20260101T000000Z", hosts="all", inventory=inventory, yes=True)
    assert (ended.value.code, journal.known()) == (2, [])
    assert "no host is in the middle of the rollout 20260101T000000Z" in capsys.readouterr().err


def test_hosts_without_a_run_are_refused_before_anything_is_asked(
    fleet: Fleet, inventory: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.killed_at("h2")
    run = begin(inventory, canaries=False, limit="h2")
    for take_up in (verbs.abort, verbs.resume):
        with pytest.raises(Exit) as ended:
            take_up(Context(), hosts="h3", inventory=inventory, yes=True)
        assert ended.value.code == 2
        assert "--run" in capsys.readouterr().err
    assert not story(run).closed


def test_an_abort_that_was_cut_off_stays_one_whatever_is_typed_next(fleet: Fleet, inventory: list[str]) -> None:
    fleet.killed_at("h2")
    run = begin(inventory)
    fleet.killed_at()
    fleet.gone.add("h2")
    with pytest.raises(Exit) as ended:
        verbs.abort(Context(), yes=True)
    assert (ended.value.code, story(run).closed) == (1, False)
    fleet.gone.clear()
    fleet.did.clear()
    verbs.resume(Context(), yes=True)
    assert (fleet.did, story(run).state) == (["h2 back"], "aborted")
    assert fleet.current == {"h1": NEW, "h2": OLD, "h3": OLD, "h4": OLD}


def test_what_somebody_else_ended_while_one_thought_about_the_answer_is_not_begun_again(
    fleet: Fleet, inventory: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.killed_at("h2")
    run = begin(inventory)
    fleet.killed_at()
    fleet.did.clear()
    asked: list[str] = []

    def confirm(question: str, *, yes: bool) -> None:
        asked.append(question)
        if len(asked) == 1:
            verbs.abort(Context(), yes=True)

    monkeypatch.setattr(rollout_taking_up, "confirm", confirm)
    with pytest.raises(Exit) as ended:
        verbs.resume(Context())
    assert ended.value.code == 2
    assert "went on meanwhile" in capsys.readouterr().err
    assert (fleet.did, story(run).state) == (["h2 back"], "aborted")


def test_a_rollout_whose_first_line_could_not_be_written_was_never_begun(
    fleet: Fleet, inventory: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise JournalLost("no space left", hint="make room; then ./inv rollout.resume")

    with monkeypatch.context() as disk:
        disk.setattr(Journal, "write", full)
        with pytest.raises(Exit):
            verbs.rollout(Context(), inventory=inventory, limit="h1", yes=True)
    assert "nothing was begun" in capsys.readouterr().err
    for verb in (verbs.resume, verbs.abort):
        with pytest.raises(Exit) as ended:
            verb(Context(), run=journal.known()[0], yes=True)
        assert (ended.value.code, fleet.did) == (2, [])
    verbs.rollout(Context(), inventory=inventory, limit="h1", yes=True)  # no other is in its way
    assert fleet.did == ["h1 switch"]


def test_a_pause_comes_after_the_canaries_also_when_the_last_of_them_is_resumed(
    fleet: Fleet, inventory: list[str]
) -> None:
    fleet.killed_at("h1")
    run = begin(inventory, pause=True)
    fleet.killed_at()
    fleet.did.clear()
    verbs.resume(Context(), yes=True)
    assert (fleet.did, story(run).state) == (["h1 switch"], "paused")
    verbs.promote(Context(), yes=True)
    assert (set(fleet.current.values()), story(run).state) == ({NEW}, "finished")


def test_hooks_hear_of_a_resumed_turn_that_fails_and_of_the_end(
    fleet: Fleet, inventory: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = tmp_path / "heard"
    program = tmp_path / "hook"
    program.write_text(f'#!/bin/sh\necho "$FLEET_EVENT $FLEET_HOST" >> {heard}\n')
    program.chmod(0o755)
    hook = {"run": str(program), "events": ["host-ends", "failure", "rollout-ends"]}
    told = {"hosts": {name: {} for name in HOSTS}, "vars": {**VARIABLES, "hooks": [hook]}}
    Path(inventory[0]).write_text(json.dumps({"all": told}))
    fleet.killed_at("h1")
    begin(inventory)
    fleet.killed_at()
    worse(fleet, monkeypatch, "h1")
    with pytest.raises(Exit):
        verbs.resume(Context(), yes=True)
    assert heard.read_text().splitlines() == ["host-ends h1", "failure h1", "rollout-ends "]


def quarantined(inventory: list[str], host: str) -> None:
    row = {"why": "Xid", "who": "me", "since": "2020-01-01T00:00:00+00:00", "until": "2099-01-01T00:00:00+00:00"}
    (Path(inventory[0]).parent / "quarantine.json").write_text(json.dumps({"hosts": {host: row}}))


def test_a_host_that_was_quarantined_meanwhile_is_left_out_of_what_follows(fleet: Fleet, inventory: list[str]) -> None:
    verbs.rollout(Context(), inventory=inventory, yes=True, pause=True, max_unavailable="100%")
    quarantined(inventory, "h3")
    verbs.promote(Context(), yes=True)
    assert fleet.current == {"h1": NEW, "h2": NEW, "h3": OLD, "h4": NEW}


def test_a_host_that_was_left_out_at_the_beginning_is_not_rolled_out_later(fleet: Fleet, inventory: list[str]) -> None:
    quarantined(inventory, "h3")
    verbs.rollout(Context(), inventory=inventory, yes=True, pause=True, max_unavailable="100%")
    quarantined(inventory, "nobody")
    verbs.promote(Context(), yes=True)
    assert fleet.current["h3"] == OLD


def test_what_the_inventory_says_by_now_is_prepared_and_has_a_canary_of_its_own(
    fleet: Fleet, inventory: list[str]
) -> None:
    verbs.rollout(Context(), inventory=inventory, yes=True, pause=True, max_unavailable="100%")
    fleet.wanted = "ccc"
    fleet.prepared.clear()
    verbs.promote(Context(), yes=True)
    assert fleet.prepared == [list(HOSTS)]
    assert [(wave["canary"], wave["hosts"]) for wave in story(journal.known()[0]).waves][:2] == [
        (True, ["h1"]), (True, ["h1"]),
    ]  # fmt: skip


def test_a_host_that_the_inventory_lost_in_the_middle_of_its_turn_is_named_and_can_be_ended_later(
    fleet: Fleet, inventory: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.killed_at("h2")
    run = begin(inventory)
    fleet.killed_at()
    whole = Path(inventory[0]).read_text()
    told = json.loads(whole)
    del told["all"]["hosts"]["h2"]
    Path(inventory[0]).write_text(json.dumps(told))
    with pytest.raises(Exit):  # it holds a resume open
        verbs.resume(Context(), yes=True)
    assert not story(run).closed
    with pytest.raises(Exit) as ended:
        verbs.abort(Context(), yes=True)
    assert (ended.value.code, story(run).state) == (1, "aborted")
    assert f"rollout.abort --run {run} --hosts h2" in capsys.readouterr().out
    Path(inventory[0]).write_text(whole)
    verbs.abort(Context(), run=run, hosts="h2", inventory=inventory, yes=True)
    assert (fleet.current["h2"], fleet.markers) == (OLD, {})


def test_a_host_that_is_gone_for_good_holds_an_abort_open_until_it_is_quarantined(
    fleet: Fleet, inventory: list[str]
) -> None:
    fleet.killed_at("h2")
    run = begin(inventory)
    fleet.killed_at()
    fleet.gone.add("h2")
    for closed in (False, True):
        with pytest.raises(Exit) as ended:
            verbs.abort(Context(), yes=True)
        assert (ended.value.code, story(run).closed) == (1, closed)
        quarantined(inventory, "h2")


def test_a_host_that_cannot_be_seen_when_it_goes_on_is_a_failure_and_holds_it_open(
    fleet: Fleet, inventory: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    verbs.rollout(Context(), inventory=inventory, yes=True, pause=True, max_unavailable="100%")
    run = journal.known()[0]
    fleet.away.add("h4")
    with pytest.raises(Exit) as ended:
        verbs.resume(Context(), yes=True)
    assert (ended.value.code, fleet.did, story(run).closed) == (1, ["h1 switch"], False)
    assert "h4 can't be seen or prepared" in capsys.readouterr().out
    fleet.away.clear()
    verbs.resume(Context(), yes=True)  # it pauses again: nobody was let go on
    assert story(run).state == "paused"
    verbs.promote(Context(), yes=True)
    assert set(fleet.current.values()) == {NEW}


def test_a_host_that_went_away_while_others_were_prepared_stops_it_before_it_begins(
    fleet: Fleet, inventory: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(_: Rolling, surveys: Mapping[str, object]) -> dict[str, HostResult]:
        fleet.away.add("h4")
        return {name: HostResult(ok=1) for name in surveys}

    monkeypatch.setattr(Rolling, "prepare", prepare)
    with pytest.raises(Exit) as ended:
        verbs.rollout(Context(), inventory=inventory, yes=True, max_unavailable="100%")
    assert (ended.value.code, fleet.did, journal.known()) == (1, [], [])
    with pytest.raises(Exit) as ended:  # one may fail: the others are rolled out, and it isn't forgotten
        verbs.rollout(Context(), inventory=inventory, yes=True, max_unavailable="100%", max_fail="1")
    assert (ended.value.code, fleet.current["h4"]) == (1, OLD)
    assert [fleet.current[host] for host in ("h1", "h2", "h3")] == [NEW] * 3


class Gateway:
    """All gateways: these servers are drained there by the run; ``told`` are those that get requests again."""

    def __init__(self, *drained: str, dead: bool = False) -> None:
        self.drained, self.dead = drained, dead
        self.told: list[str] = []

    def states(self) -> dict[str, dict[str, ServerState]]:
        if self.dead:
            raise Unreachable("no route to host", where="g1")
        return {"g1": {name: ServerState(name, True, "drain", 0, 60.0, "", "me r1") for name in self.drained}}

    def ready(self, ways: Mapping[str, str]) -> None:
        self.told.extend(ways)


def reconciled(fleet: Fleet, gateway: Gateway, *but: str) -> list[str]:
    crew = SimpleNamespace(transport=fleet.transport)
    session_ = SimpleNamespace(names=list(HOSTS), crew=crew)
    roll = SimpleNamespace(balancers=gateway, session=session_, run="r1", address=lambda name: f"{name}.example")
    rollout_taking_up._reconcile(roll, set(but))  # type: ignore[arg-type]  # as much of a rollout as it needs
    return gateway.told


def test_what_this_run_drained_gets_requests_again_save_hosts_in_the_middle_and_strangers(fleet: Fleet) -> None:
    gateway = Gateway("h1:qwen", "h2:qwen", "moved-away:qwen")
    assert reconciled(fleet, gateway, "h2") == ["h1:qwen"]


def test_a_gateway_that_is_gone_hides_no_verdict(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert reconciled(fleet, Gateway("h1:qwen", dead=True)) == []
    assert "g1" in capsys.readouterr().err
