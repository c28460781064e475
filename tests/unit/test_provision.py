"""The rounds of provision, on hosts that are dictionaries: what each command asks is answered from their state."""

from __future__ import annotations

import json
import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleet import facts, plan
from fleet.crew import Crew
from fleet.errors import FleetError, HostError, Unreachable
from fleet.lock import Owner
from fleet.progress import Progress
from fleet.provision import MOST_ROUNDS, HostResult, Provision, provision
from fleet.resource import Change, Observation, Pending, Problem, Resource, Run, Step
from fleet.resources import Current
from fleet.settings import HostSettings
from fleet.survey import Lookups, Survey, survey
from fleet.target import Target
from fleet.transport import Reply
from fleet.transport.fake import Answer, FakeTransport

FACTS = "facts_version=1\nos_id=debian\nfacts_end=yes\n"


@dataclass(frozen=True)
class Entry:
    """A key that must have a value on the host."""

    id: str
    value: str = "1"
    interrupts: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    step: str = ""

    def probe(self) -> str:
        return f"get {self.id}"

    def diff(self, seen: Observation) -> Change | None:
        if seen.get("value") == self.value:
            return None
        return Change(self.id, "update", f"{seen.get('value')} → {self.value}", interrupts=self.interrupts)

    def apply(self, seen: Observation) -> Sequence[Step]:
        return (Run(self.step or f"set {self.id} {self.value}", what=f"setting {self.id}"),)


@dataclass
class World:
    """Some hosts, what they must be, and all that was asked of them."""

    wants: Callable[[Target, World], Iterator[Resource]]
    state: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    units: str = ""
    lock: str = "locked\n"
    opened: dict[str, list[FakeTransport]] = field(default_factory=dict)
    audit: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)

    def connect(self, name: str) -> FakeTransport:
        host = self.state.setdefault(name, {})

        def probe(command: str, _: bytes | None) -> str:
            nonce = re.findall(r"<%s %s\\n' (\w+) ", command)[0]
            parts = []
            for index, key in enumerate(re.findall(r"^\( eval (?:'get (\S+)'|:) \)", command, re.M)):
                parts.append(f"\n<{nonce} {index}\nvalue={host.get(key, '')}\n\n>{nonce} {index} 0\n")
            return "".join(parts) + f".{nonce}\n"

        def change(command: str, stdin: bytes | None) -> str | Reply:
            _, key, value = shlex.split(command.splitlines()[-1])
            if value == "fails":
                return Reply("", "it is broken", 3)
            host[key] = value
            return ""

        def write_audit(_: str, stdin: bytes | None) -> str:
            self.audit.append((stdin or b"").decode())
            return ""

        def write_history(_: str, stdin: bytes | None) -> str:
            self.history.append((stdin or b"").decode())
            return ""

        answers: list[tuple[str, Answer]] = [
            ("facts_version", lambda *_: FACTS.replace("facts_end", f"{self.units}facts_end")),
            (r"printf '\\n<", probe),
            (r"flock", lambda *_: self.lock),
            (r"audit\.log", write_audit),
            (r"tail -n 1 history\.jsonl", "7\n"),
            (r">> history\.jsonl", write_history),
            (r"\nset ", change),
            (r"^true$", ""),
        ]
        self.opened.setdefault(name, []).append(FakeTransport(name, answers))
        return self.opened[name][-1]

    def look(self, name: str, transport: object) -> Survey:
        world = self

        class TheRole:
            def resources(self, target: Target) -> Iterator[Resource]:
                return world.wants(target, world)

            def problems(self, target: Target) -> Iterator[Problem]:
                return iter(world.problems)

        return survey(transport, HostSettings(), Lookups({}, {}), [TheRole()], b"key")  # type: ignore[arg-type] # a Transport

    def run(self, *names: str, exactly: plan.Plan | None = None) -> dict[str, HostResult]:
        with Crew(self.connect) as crew:
            surveys = crew.each(names, self.look)
            work = Provision(
                self.look, Owner("me", "now", "test"), "run-1", Progress(quiet=True), exactly.hosts if exactly else None
            )
            return provision(crew, surveys, work)

    def plan(self, *names: str) -> plan.Plan:
        with Crew(self.connect) as crew:
            seen = crew.each(names, self.look)
            self.opened.clear()
            return plan.Plan({name: s.plan for name, s in seen.items() if isinstance(s, Survey)})

    def asked(self, name: str) -> list[str]:
        return [command for command, _ in self.opened[name][0].asked]


def entries(*resources: Resource) -> Callable[[Target, World], Iterator[Resource]]:
    return lambda target, world: iter(resources)


@pytest.mark.parametrize("count", [1, 10, 300])
def test_a_no_op_costs_one_connection_and_two_commands_whatever_the_number_of_resources(count: int) -> None:
    world = World(entries(*(Entry(f"key:{n}") for n in range(count))))
    world.state = {"h1": {f"key:{n}": "1" for n in range(count)}}
    result = world.run("h1")["h1"]
    assert (result.ok, result.changed, result.failed) == (count, 0, 0)
    assert len(world.opened["h1"]) == 1
    assert world.opened["h1"][0].commands == 2
    assert not any("flock" in command or "audit" in command for command in world.asked("h1"))


def test_a_change_is_made_under_the_lock_and_written_down_and_the_second_run_finds_nothing() -> None:
    world = World(entries(Entry("key:a"), Entry("key:b", "2")), state={"h1": {"key:a": "1"}})
    result = world.run("h1")["h1"]
    assert (result.ok, result.changed) == (1, 1)
    assert world.state["h1"] == {"key:a": "1", "key:b": "2"}
    assert ['"resource": "key:b"' in line and '"result": "done"' in line for line in world.audit] == [True]
    asked = world.asked("h1")
    assert next(i for i, c in enumerate(asked) if "flock" in c) < next(i for i, c in enumerate(asked) if "\nset " in c)
    assert world.opened["h1"][0].held == 0, "the lock is let go"
    world.opened.clear()
    assert world.run("h1")["h1"].changed == 0
    assert world.opened["h1"][0].commands == 2


def test_somebody_elses_lock_stops_the_host_with_his_name_and_nothing_is_changed() -> None:
    world = World(entries(Entry("key:a")), lock=f"held {Owner('ann@box', 'noon', 'rollout').encoded()}\n")
    result = world.run("h1")["h1"]
    assert "ann@box since noon (rollout)" in result.failures[0].message
    assert world.state["h1"] == {}


def test_what_only_a_change_can_tell_is_found_by_the_next_round() -> None:
    def wants(target: Target, world: World) -> Iterator[Resource]:
        yield Entry("driver:nvidia")
        yield Entry("unit:vllm") if world.state["h1"].get("driver:nvidia") else Pending("unit:vllm", "driver:nvidia")

    world = World(wants)
    planned = world.plan("h1").hosts["h1"]
    assert [(c.id, c.change.why) for c in planned.changes][1] == ("unit:vllm", "known after apply: driver:nvidia")
    result = world.run("h1")["h1"]
    assert (result.changed, result.failed) == (2, 0)


def test_what_can_never_be_worked_out_is_a_failure_and_no_endless_round() -> None:
    result = World(entries(Pending("unit:x", "the moon"))).run("h1")["h1"]
    assert result.failed == 1
    assert "can't be worked out" in result.failures[0].message


def test_what_comes_back_each_round_is_reported_after_the_last() -> None:
    rounds = iter(range(1000))
    world = World(lambda target, world: iter([Entry("key:a", str(next(rounds)))]))
    result = world.run("h1")["h1"]
    assert f"after {MOST_ROUNDS} rounds" in result.failures[0].message


def test_a_follower_of_a_change_is_named_in_the_plan_and_may_turn_out_to_be_well() -> None:
    world = World(entries(Entry("file:a"), Entry("unit:u", follows=("file:a",))), state={"h1": {"unit:u": "1"}})
    assert [c.id for c in world.plan("h1").hosts["h1"].changes] == ["file:a", "unit:u"]
    result = world.run("h1")["h1"]
    assert (result.changed, result.failed, result.ok) == (1, 0, 1)


def test_what_would_interrupt_waits_for_a_rollout_and_costs_no_lock() -> None:
    world = World(entries(Entry("unit:u", interrupts=("instance a",))))
    result = world.run("h1")["h1"]
    assert (result.waits, result.changed, result.skipped) == (["unit:u"], 0, 1)
    assert world.opened["h1"][0].commands == 2


def test_a_problem_keeps_the_host_untouched_and_all_are_told_at_once() -> None:
    world = World(entries(Entry("key:a")), problems=(Problem("no disk"), Problem("hm", level="warning"), Problem("no")))
    result = world.run("h1")["h1"]
    assert [f.message for f in result.failures] == ["no disk", "no"]
    assert result.warnings == ["hm"]
    assert world.opened["h1"][0].commands == 2


def test_the_first_failure_stops_its_host_and_no_other() -> None:
    def wants(target: Target, world: World) -> Iterator[Resource]:
        yield Entry("key:a", step="set key:a fails" if target.name == "h2" else "")
        yield Entry("key:b")

    world = World(wants)
    results = world.run("h1", "h2", "h3")
    assert [(name, r.changed, r.failed) for name, r in results.items()] == [("h1", 2, 0), ("h2", 0, 1), ("h3", 2, 0)]
    failure = results["h2"].failures[0]
    assert (failure.resource, failure.command, failure.stderr) == ("key:a", "set key:a fails", "it is broken")
    assert world.state["h2"] == {}
    assert any('"failed"' in line for line in world.audit)


def test_what_still_differs_after_its_change_is_a_failure() -> None:
    result = World(entries(Entry("key:a", step="set key:other 1"))).run("h1")["h1"]
    assert "still differs" in result.failures[0].message


def test_an_unreachable_host_is_counted_as_such_and_the_others_go_on() -> None:
    world = World(entries(Entry("key:a")))

    def connect(name: str) -> FakeTransport:
        if name == "down":
            raise Unreachable("no route", where=name, hint="is it up?")
        return world.connect(name)

    with Crew(connect) as crew:
        surveys = crew.each(["down", "h1"], world.look)
        results = provision(crew, surveys, Provision(world.look, Owner("", "", ""), "r", Progress(quiet=True)))
    assert (results["down"].unreachable, results["down"].failed) == (1, 0)
    assert results["h1"].changed == 1


# -- the history of switches ---


@dataclass(frozen=True)
class Switching(Current):
    """The switch of an instance, as a key of the test's world."""

    def probe(self) -> str:
        return f"get {self.id}"

    def diff(self, seen: Observation) -> Change | None:
        if seen.get("value") == self.release:
            return None
        kind = "update" if self.release == "mended" else "switch"
        return Change(self.id, kind, "to another release", interrupts=self.behind)

    def apply(self, seen: Observation) -> Sequence[Step]:
        return (Run(f"set {self.id} {self.release}"),)


def test_a_switch_is_written_into_the_instances_history_and_a_mended_unit_is_not() -> None:
    world = World(entries(Switching("a", "r1"), Switching("b", "r2", behind=("instance b",)), Switching("c", "mended")))
    assert world.run("h1")["h1"].changed == 2
    lines = [json.loads(text) for text in world.history]
    assert [(x["release"], x["number"], x["verb"], x["run"], x["who"]) for x in lines] == [
        ("r1", 7, "provision", "run-1", "me")
    ]


# -- exactly the plan ---


def test_a_plan_that_fits_is_applied() -> None:
    world = World(entries(Entry("key:a")))
    assert world.run("h1", exactly=world.plan("h1"))["h1"].changed == 1


@pytest.mark.parametrize("wants", ["more", "other", "moved"])
def test_a_plan_that_no_longer_fits_refuses_the_host(wants: str) -> None:
    world = World(entries(Entry("key:a")))
    made = world.plan("h1")
    if wants == "moved":
        world.state["h1"]["key:a"] = "somebody was here"
    else:
        world.wants = entries(Entry("key:a", "2")) if wants == "other" else entries(Entry("key:a"), Entry("key:b"))
    before = {name: dict(state) for name, state in world.state.items()}
    result = world.run("h1", exactly=made)["h1"]
    assert "changed since the plan was made" in result.failures[0].message
    assert world.state == before


def test_a_host_that_is_not_in_the_plan_is_refused() -> None:
    world = World(entries(Entry("key:a")))
    result = world.run("h2", exactly=world.plan("h1"))["h2"]
    assert "isn't in the plan" in result.failures[0].message
    assert world.state["h2"] == {}


def test_a_resource_that_comes_up_later_and_is_not_in_the_plan_is_refused() -> None:
    def wants(target: Target, world: World) -> Iterator[Resource]:
        yield Entry("key:a")
        if world.state["h1"].get("key:a"):
            yield Entry("key:surprise")

    world = World(wants)
    result = world.run("h1", exactly=world.plan("h1"))["h1"]
    assert "not in the plan: key:surprise" in result.failures[0].message
    assert world.state["h1"] == {"key:a": "1"}


# -- the crew ---


def test_at_most_as_many_hosts_at_once_as_there_are_forks() -> None:
    now, most, guard = [0], [0], threading.Lock()

    def work(name: str, _: object) -> str:
        with guard:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with guard:
            now[0] -= 1
        return name

    names = [f"h{n}" for n in range(12)]
    with Crew(FakeTransport, forks=3) as crew:
        assert list(crew.each(names, work)) == names
    assert most[0] == 3


def test_a_bug_on_one_host_is_shown_whole_and_the_others_go_on() -> None:
    def work(name: str, _: object) -> int:
        return 1 // (name != "h2")

    with Crew(FakeTransport) as crew:
        results = crew.each(["h1", "h2", "h3"], work)
    bug = results["h2"]
    assert isinstance(bug, HostError)
    assert "ZeroDivisionError" in bug.stderr
    assert (results["h1"], results["h3"]) == (1, 1)


def test_ctrl_c_closes_every_connection_and_nothing_more_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[str, FakeTransport] = {}
    after: list[FleetError] = []
    ended = threading.Event()

    def connect(name: str) -> FakeTransport:
        opened[name] = FakeTransport(name, [("", "")])
        return opened[name]

    def work(name: str, transport: object) -> None:
        assert isinstance(transport, FakeTransport)
        transport.run("first")
        if name == "h2":
            raise KeyboardInterrupt
        while not transport.closed:
            time.sleep(0.01)
        try:
            transport.run("second")
        except FleetError as error:
            after.append(error)
        ended.set()

    crew = Crew(connect)
    with pytest.raises(KeyboardInterrupt):
        crew.each(["h1", "h2"], work)
    assert ended.wait(5)
    assert [command for command, _ in opened["h1"].asked] == ["first"]
    assert all(transport.closed for transport in opened.values())
    with pytest.raises(HostError, match="the run was ended"):
        crew.transport("h3")
    assert len(after) == 1


def test_the_facts_script_is_what_these_hosts_answer() -> None:
    assert "facts_version" in facts.SCRIPT
    assert Path(facts.__file__).with_name("facts.sh").exists()
