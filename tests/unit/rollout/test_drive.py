"""One host's turn, driven: what is done in which order, and that nothing is stopped that still answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet import releases
from fleet.errors import CommandFailed, FleetError, HostError, Unreachable
from fleet.gateway.balancer import ServerState
from fleet.lock import Owner
from fleet.progress import Progress
from fleet.provision import HostResult
from fleet.rollout import drive, gates, journal, switching, taking
from fleet.rollout.balancers import Balancers
from fleet.rollout.drive import Turn
from fleet.rollout.gates import Verdict
from fleet.rollout.journal import Journal, JournalLost
from fleet.rollout.judge import Measured
from fleet.rollout.live import Live
from fleet.rollout.turn import At
from fleet.rollout.work import Work
from fleet.settings.rollout import Rollout
from fleet.transport import Transport
from fleet.transport.base import Reply
from fleet.transport.fake import FakeTransport

NEW, OLD = "bbb", "aaa"


class World:
    """A host, its gateway and what happens to them; ``did`` is all that was done, in order."""

    name = "g1"
    verb: releases.Verb = "rollout"

    def __init__(self) -> None:
        self.did: list[str] = []
        self.current = self.good = OLD
        self.running = [3, 1, 0]  # requests under way, look by look
        self.gates = [("unit", True), ("text", True), ("speed", True), ("steady", True)]
        self.fail: dict[str, list[FleetError]] = {}

    def _do(self, what: str) -> None:
        self.did.append(what)
        if self.fail.get(what):
            raise self.fail[what].pop(0)

    # the gateway
    def drain(self, servers: Sequence[str], *, seconds: int, who: str) -> None:
        assert list(servers) == ["h1:qwen"]
        self._do("drain")

    def ready(self, servers: Mapping[str, str]) -> None:
        assert servers == {"h1:qwen": f"key of {self.current}"}
        self._do("ready")

    def states(self) -> Mapping[str, ServerState]:
        return {"h1:qwen": ServerState("h1:qwen", bool(self.current), "drain", 0, None, "", "")}

    # the host
    def known(self, command: str, stdin: bytes | None) -> str | Reply:
        if self.good == "":
            return f'release+=qwen {NEW} - 1 7 {{"key": "key of {NEW}"}}\nend=yes\n'  # staged; it never served
        marks = {r: ["-", *(["current"] * (r == self.current)), *(["good"] * (r == self.good))] for r in (NEW, OLD)}
        lines = [f'release+=qwen {r} {",".join(m)} 1 7 {{"key": "key of {r}"}}' for r, m in marks.items()]
        return "\n".join([*lines, "end=yes"])

    def switch(
        self, host: str, transport: Transport, lock: Any, result: HostResult, say: Callable[[str], None]
    ) -> None:
        self._do("switch")
        self.current = self.good = NEW
        result.changed = 2

    def bring_back(self, transport: Transport, targets: Mapping[str, str], *_: Any, **__: Any) -> list[str]:
        assert targets == {"qwen": OLD}
        self._do("bring back")
        self.current = self.good = OLD
        return ["qwen"]

    def in_flight(self, transport: Transport, live: Live) -> int:
        return self.running.pop(0) if self.running else 0

    def all_gates(
        self, transport: Any, live: Live, before: Any, same: bool, limits: Any, say: Any
    ) -> Iterator[Verdict]:
        for gate, passed in self.gates if live.release == NEW else [("unit", True), ("text", True), ("speed", False)]:
            self.did.append(f"gate {gate}")
            yield Verdict(gate, passed, f"{gate} it is", 0.1, () if passed else ("RuntimeError: worse",))
            if not passed:
                return


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = World()
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    live = Live("qwen", OLD, "http://h:1", "m", False, None, "m", "")
    monkeypatch.setattr(drive, "live", lambda t, i: Live(**{**live.__dict__, "release": made.current}))
    monkeypatch.setattr(drive, "measure", lambda t, old, timeout: Measured({}, 0.1, 50.0))
    monkeypatch.setattr(drive, "in_flight", made.in_flight)
    monkeypatch.setattr(gates, "gates", made.all_gates)
    monkeypatch.setattr(drive, "bring_back", made.bring_back)
    monkeypatch.setattr(releases, "note_switch", lambda *a, **k: made.did.append(f"note {k['verb']}"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return made


def turn(world: World, journal_: Journal, **more: Any) -> Turn:
    transport = FakeTransport(
        "h1", [("flock", "locked"), ("release\\+=", lambda c, s: world.known(c, s)), ("date", "7"), ("", "")]
    )
    work = Work(
        journal_.run, Owner("me", "now", "rollout"), "why", world, Balancers([world], patience=0),
        journal_, Progress(quiet=True), lambda name: Rollout(), threading.Event(), lambda name: "", back_again=5,
    )  # fmt: skip
    return Turn("h1", transport, work, **more)


def take(world: World, **more: Any) -> tuple[At, Turn, journal.Story]:
    with Journal("r1") as book:
        made = turn(world, book, **more)
        end = made.take()
    return end, made, journal.read(book.path)


def test_a_good_release_is_let_in_after_its_gates_and_stopped_is_only_what_has_no_request_left(world: World) -> None:
    end, made, story = take(world)
    assert end is At.DONE
    assert world.running == []
    order = ["drain", "drain", "switch", "note rollout", "gate unit", "gate text", "gate speed", "gate steady", "ready"]
    assert world.did == order
    assert (made.result.changed, made.result.failed) == (2, 0)
    assert story.ends == {"h1": At.DONE}


@pytest.mark.parametrize("gate", ["unit", "text", "speed", "steady"])
def test_a_release_that_fails_a_gate_is_taken_back_and_the_old_one_serves(world: World, gate: str) -> None:
    world.gates = [(name, name != gate) for name, _ in world.gates]
    end, made, story = take(world)
    assert end is At.REVERTED
    assert world.current == OLD
    tail = world.did[world.did.index("bring back") :]
    assert tail == ["bring back", "note put-back", "gate unit", "gate text", "ready"]
    assert "ready" not in world.did[: world.did.index("bring back")]
    failure = made.result.failures[0]
    assert (failure.resource, failure.stderr) == (f"gate {gate}", "RuntimeError: worse")
    assert story.unsettled == ()


def test_requests_that_do_not_end_keep_the_host_as_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "in_flight", lambda t, live: 1)
    with Journal("r1") as book:
        made = turn(world, book)
        made.work = replace(made.work, limits=lambda name: Rollout(drain_deadline=0))
        assert made.take() is At.KEPT
    assert world.did == ["drain", "ready"]
    assert "1 requests are still being answered" in made.result.failures[0].message


def test_a_gateway_that_cannot_be_told_means_that_nothing_is_stopped(world: World) -> None:
    world.fail = {"drain": [HostError("gone", where="g1")]}
    assert take(world)[0] is At.KEPT
    assert world.did == ["drain", "ready"]


def test_a_host_that_is_gone_for_a_moment_is_waited_for(world: World) -> None:
    world.fail = {"switch": [Unreachable("reset", where="h1"), Unreachable("reset", where="h1")]}
    assert take(world)[0] is At.DONE
    assert world.did.count("switch") == 3


def test_what_was_cut_off_while_it_switched_is_drained_again_before_anything_is_stopped(world: World) -> None:
    end, _, _ = take(world, start=At.DRAIN, back=True, before={"qwen": OLD})
    assert end is At.REVERTED
    assert world.did[0] == "drain"
    assert "switch" not in world.did


def test_ctrl_c_leaves_the_turn_open_for_a_resume(world: World) -> None:
    world.fail = {"switch": [HostError("closed", where="h1")]}
    with Journal("r1") as book:
        made = turn(world, book)
        made.work.stopped.set()
        with pytest.raises(HostError, match="closed"):
            made.take()
    story = journal.read(book.path)
    assert story.unsettled == ("h1",)
    assert story.steps == {"h1": At.SWITCH}


def test_each_step_is_on_the_disk_of_both_sides_before_it_is_taken(world: World) -> None:
    seen: list[tuple[str, str]] = []
    switch = world.switch
    with Journal("r1") as book:
        made = turn(world, book)

        def look(*args: Any) -> None:
            fake = made.transport
            assert isinstance(fake, FakeTransport)
            marks = [stdin for command, stdin in fake.asked if "rollout.json" in command and stdin]
            seen.append((journal.read(book.path).steps["h1"].value, marks[-1].decode()))
            switch(*args)

        world.switch = look  # type: ignore[method-assign,assignment]  # the moment of the switch is looked at
        made.take()
    assert seen[0][0] == "switch"
    assert '"at": "switch"' in seen[0][1]
    assert '"before": {"qwen": "aaa"}' in seen[0][1]


def test_requests_that_do_not_end_after_a_cut_off_switch_do_not_leave_the_new_release_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.current = world.good = NEW  # switched, never judged, and its drain expired
    monkeypatch.setattr(drive, "in_flight", lambda t, live: 1)
    with Journal("r1") as book:
        made = turn(world, book, touched=True, before={"qwen": OLD})
        made.work = replace(made.work, limits=lambda name: Rollout(drain_deadline=0))
        assert made.take() is At.REVERTED
    assert world.current == OLD


def test_a_first_release_that_fails_its_gates_is_stopped_and_gets_no_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.good = world.current = ""
    world.gates = [("unit", True), ("text", False)]
    monkeypatch.setattr(drive, "bring_back", lambda *_, **__: [])
    stopped: list[str] = []

    def run(transport: Transport, instances: Sequence[str], lock: Any, say: Any) -> None:
        stopped.extend(instances)
        world.current = world.good = ""

    def ready(servers: Mapping[str, str]) -> None:
        assert servers == {}, "no release is left that may be given requests"

    monkeypatch.setattr(drive, "withdraw", run)
    monkeypatch.setattr(world, "ready", ready)
    end, _, _ = take(world)
    assert (end, stopped) == (At.REVERTED, ["qwen"])
    assert world.did.count("drain") == 3  # also before it ever served: the gateways knew it from the preparation on


def test_what_has_no_release_to_go_back_to_is_stopped_and_is_current_no_more() -> None:
    transport = FakeTransport("h1", [("", "")])
    lock = type("Lock", (), {"check": lambda self: None})()
    switching.withdraw(transport, ["qwen"], lock, lambda text: None)
    (command, _), *_ = transport.asked
    assert "systemctl disable --now" in command
    assert command.index("exit 1") < command.index("rm -f")


@pytest.mark.parametrize(
    ("full_at", "end"), [("drain", At.KEPT), ("switch", At.REVERTED), ("gates", At.REVERTED), ("admit", At.DONE)]
)
def test_a_disk_that_gets_full_here_strands_no_host(
    world: World, monkeypatch: pytest.MonkeyPatch, full_at: str, end: At
) -> None:
    write, full = Journal.write, []

    def written(book: Journal, event: str, **told: Any) -> None:
        full.extend([1] * (told.get("at") == full_at))
        if full:
            raise JournalLost("the rollout's journal can't be written: No space left on device")
        write(book, event, **told)

    monkeypatch.setattr(Journal, "write", written)
    came, _, _ = take(world)
    assert came is end
    assert world.did[-1] == "ready"
    assert world.current == (NEW if end is At.DONE else OLD)


class Deaf:
    """Reads of the host's releases that come to no end: those of these numbers, or all from the first of them on."""

    def __init__(self, world: World, *at: int, for_good: bool = False) -> None:
        self.count, self.at, self.for_good, self._known = -1, at, for_good, world.known
        world.known = self  # type: ignore[method-assign]  # the host is what it was, and can't say so

    def __call__(self, command: str, stdin: bytes | None) -> str | Reply:
        self.count += 1
        lost = self.count in self.at or (self.for_good and self.count > self.at[0])
        return Reply("", "no end after 60 s", -1) if lost else self._known(command, stdin)


@pytest.mark.parametrize("at", range(9))
@pytest.mark.parametrize("good", [True, False])
def test_a_read_that_came_to_no_end_is_done_again_and_never_counts_as_nothing_there(
    world: World, at: int, good: bool
) -> None:
    world.gates = [("unit", True), ("speed", good)]
    Deaf(world, at)
    end, _, _ = take(world)
    assert end is (At.DONE if good else At.REVERTED)
    assert world.current == (NEW if good else OLD)
    assert ("gate speed" in world.did, world.did.count("bring back")) == (True, 0 if good else 1)
    assert world.did[-1] == "ready"


def test_a_host_that_never_says_what_it_has_is_not_touched(world: World) -> None:
    Deaf(world, 0, for_good=True)
    with Journal("r1") as book:
        made = turn(world, book)
        made.work = replace(made.work, back_again=0)
        with pytest.raises(HostError, match="releases can't be read"):
            made.take()
    assert world.did == []


def test_what_cannot_be_read_at_the_gates_is_let_in_by_no_gateway(world: World) -> None:
    switch = world.switch

    def then_deaf(*args: Any) -> None:
        switch(*args)
        Deaf(world, 1, for_good=True)

    world.switch = then_deaf  # type: ignore[method-assign,assignment]  # from then on it can't be read
    with Journal("r1") as book:
        made = turn(world, book)
        made.work = replace(made.work, back_again=0)
        assert made.take() is At.BROKEN
    assert "ready" not in world.did


@pytest.mark.parametrize(
    "lost",
    [
        Unreachable("the connection broke while a command ran", where="h1"),
        CommandFailed("can't be asked: no answer", command="docker exec", status=-1, where="h1"),
    ],
)
def test_a_line_that_breaks_while_the_old_release_is_measured_is_no_measurement_that_failed(
    world: World, monkeypatch: pytest.MonkeyPatch, lost: HostError
) -> None:
    held_to: list[Any] = []
    monkeypatch.setattr(drive, "examine", lambda transport, new, told, *_, **__: held_to.append(told))
    tries = iter([lost])

    def measured(*_: Any, **__: Any) -> Measured:
        for error in tries:
            raise error
        return Measured({}, 0.1, 50.0)

    monkeypatch.setattr(drive, "measure", measured)
    assert take(world)[0] is At.DONE
    assert held_to[0]["measured"]["tokens_per_second"] == 50.0


def test_a_host_that_stays_away_while_it_is_measured_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> Measured:
        raise Unreachable("the connection broke", where="h1")

    monkeypatch.setattr(drive, "measure", gone)
    with Journal("r1") as book:
        made = turn(world, book)
        made.work = replace(made.work, back_again=0)
        assert made.take() is At.KEPT
    assert "switch" not in world.did


@pytest.mark.parametrize(("at", "end"), [("drain", At.KEPT), ("switch", At.REVERTED)])
def test_what_this_machine_cannot_write_strands_no_host(world: World, at: str, end: At) -> None:
    do = getattr(world, at)
    full = iter([OSError(28, "No space left on device")])

    def written(*args: Any, **told: Any) -> None:
        do(*args, **told)
        for error in full:
            raise error

    setattr(world, at, written)
    came, made, story = take(world)
    assert (came, world.current, world.did[-1]) == (end, OLD, "ready")
    assert "No space left on device" in made.result.failures[0].message
    assert story.unsettled == ()


class Second:
    """Another gateway, dead from a moment on."""

    name = "g2"

    def __init__(self) -> None:
        self.dead = False
        self.told: list[str] = []

    def _asked(self, what: str) -> None:
        if self.dead:
            raise HostError("no route", where="g2")
        self.told.append(what)

    def drain(self, servers: Sequence[str], *, seconds: int, who: str) -> None:
        self._asked("drain")

    def ready(self, servers: Mapping[str, str]) -> None:
        self._asked("ready")

    def states(self) -> Mapping[str, ServerState]:
        self._asked("states")
        return {"h1:qwen": ServerState("h1:qwen", True, "drain", 0, None, "", "")}


def take_with(world: World, second: Second, **more: Any) -> tuple[At, Turn]:
    with Journal("r1") as book:
        made = turn(world, book, **more)
        made.work = replace(made.work, balancers=Balancers([world, second], patience=0))
        return made.take(), made


def test_a_gateway_that_dies_keeps_no_failed_release_on_the_host(world: World) -> None:
    second = Second()

    def dies(transport: Any, live: Live, *_: Any) -> Iterator[Verdict]:
        second.dead = True
        yield Verdict("text", live.release == OLD, "what it says", 0.1)

    world.gates = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "gates", dies)
        end, made = take_with(world, second)
    assert (end, world.current) == (At.STRANDED, OLD)
    tail = world.did[world.did.index("note rollout") :]
    assert tail == ["note rollout", "drain", "bring back", "note put-back", "ready"]
    assert [words for words in made.result.warnings if "g2" in words]
    assert second.told[-1] == "states"


def test_what_goes_back_after_a_cut_off_waits_for_no_dead_gateway(world: World) -> None:
    world.current = world.good = NEW
    second = Second()
    second.dead = True
    end, _ = take_with(world, second, back=True, touched=True, before={"qwen": OLD})
    assert (end, world.current, world.running) == (At.STRANDED, OLD, [])
    assert world.did[-1] == "ready"


def test_a_gateway_that_dies_before_the_switch_leaves_the_host_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Second()

    def measured(*_: Any, **__: Any) -> Measured:
        second.dead = True
        return Measured({}, 0.1, 50.0)

    monkeypatch.setattr(drive, "measure", measured)
    end, made = take_with(world, second)
    assert end is At.STRANDED  # the dead one can't be told that it is back; the other one is
    assert (made.touched, world.current, world.did[-1]) == (False, OLD, "ready")
    assert not {"switch", "bring back"} & set(world.did)


def test_a_gateway_that_cannot_drain_before_the_switch_leaves_the_host_as_it_was(world: World) -> None:
    drain, tries = world.drain, iter([False, True])

    def some(*args: Any, **told: Any) -> None:
        drain(*args, **told)
        if next(tries, False):
            raise HostError("no route", where="g1")

    world.drain = some  # type: ignore[method-assign]  # the second time
    assert take(world)[0] is At.KEPT
    assert not {"switch", "bring back"} & set(world.did)


def test_what_ends_broken_leaves_nothing_unjudged_that_a_gateways_timer_could_let_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.gates = [("unit", True), ("text", False)]
    world.fail = {"bring back": [HostError("it never will be", where="h1")]}
    asked: list[Mapping[str, str]] = []

    def stop(transport: Transport, may: Mapping[str, str], say: Any) -> list[str]:
        asked.append(may)
        return []

    monkeypatch.setattr(taking, "stop_unjudged", stop)
    end, _, story = take(world)
    assert (end, asked) == (At.BROKEN, [{"qwen": OLD}])
    assert story.unsettled == ("h1",)


def split_in_two(world: World) -> None:
    """The new release is two instances: ``c`` was staged, and is current as soon as it is switched to."""
    known = world.known

    def both(command: str, stdin: bytes | None) -> str | Reply:
        marks = "-,current,good" if world.current == NEW and "withdraw ['c']" not in world.did else "-"
        return f"release+=c ccc {marks} 1 7 {{}}\n{known(command, stdin)}"

    world.known = both  # type: ignore[method-assign]  # one instance more


def test_what_has_nothing_to_go_back_to_makes_room_before_the_others_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_in_two(world)
    monkeypatch.setattr(world, "drain", lambda *_, **__: world.did.append("drain"))
    monkeypatch.setattr(world, "ready", lambda *_: world.did.append("ready"))
    monkeypatch.setattr(drive, "withdraw", lambda t, names, *_: world.did.append(f"withdraw {names}"))
    world.gates = [("unit", True), ("speed", False)]
    assert take(world)[0] is At.REVERTED
    assert world.did[world.did.index("withdraw ['c']") :][:2] == ["withdraw ['c']", "bring back"]


def test_an_instance_whose_release_is_gone_is_left_out_and_said_and_the_others_serve_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "drain", lambda *_, **__: world.did.append("drain"))
    world.current = world.good = NEW
    end, made, _ = take(world, back=True, touched=True, before={"qwen": OLD, "b": "ddd"})
    assert (end, world.current, world.did[-1]) == (At.REVERTED, OLD, "ready")
    assert made.result.warnings == ["instance b can't be put back: its release ddd is no longer on the host"]


@pytest.mark.parametrize("told", [None, 7200.0])
def test_the_way_back_has_the_patience_that_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, told: float | None
) -> None:
    world.gates = [("unit", False)]
    seen: list[float | None] = []

    def back(*args: Any, deadline: float | None) -> list[str]:
        seen.append(deadline)
        return world.bring_back(*args)

    monkeypatch.setattr(drive, "bring_back", back)
    with Journal("r1") as book:
        made = turn(world, book)
        made.work = replace(made.work, limits=lambda name: Rollout(start_deadline=told))
        assert made.take() is At.REVERTED
    assert seen == [told]


@pytest.mark.parametrize(("good", "end"), [(True, At.DONE), (False, At.REVERTED)])
def test_an_instance_that_left_the_inventory_comes_back_with_the_others_or_is_forgotten_at_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch, good: bool, end: At
) -> None:
    aside, known = [False], world.known

    def both(command: str, stdin: bytes | None) -> str | Reply:
        return ("" if aside[0] else "release+=b ddd -,good 1 7 {}\n") + str(known(command, stdin))

    def switch(*args: Any) -> None:
        type(world).switch(world, *args)
        aside[0] = True

    def lay(command: str, stdin: bytes | None) -> str:
        aside[0] = aside[0] and ".removed-b" not in command
        return ""

    def back(transport: Transport, targets: Mapping[str, str], *_: Any, **__: Any) -> list[str]:
        assert targets == {"qwen": OLD, "b": "ddd"}
        world.current = world.good = OLD
        return []

    monkeypatch.setattr(world, "known", both)
    monkeypatch.setattr(world, "switch", switch)
    monkeypatch.setattr(world, "drain", lambda *_, **__: None)
    monkeypatch.setattr(world, "ready", lambda *_: None)
    monkeypatch.setattr(drive, "bring_back", back)
    monkeypatch.setattr(drive, "examine", lambda transport, new, *_, **__: None)
    if not good:
        said = iter([HostError("it isn't seen healthy", where="h1")])

        def seen(*_: Any) -> None:
            for error in said:
                raise error

        monkeypatch.setattr(drive, "seen_by_gateways", seen)
    with Journal("r1") as book:
        made = turn(world, book)
        assert isinstance(made.transport, FakeTransport)
        made.transport.answers = [("mv -f .*removed-", lay), *made.transport.answers]
        assert made.take() is end
    commands = [command for command, _ in made.transport.asked]
    cleared = next(n for n, command in enumerate(commands) if command.startswith("rm -f /var/lib/fleet/rollout.json"))
    assert [n for n, command in enumerate(commands) if "for d in .removed-*" in command] == [cleared + 1]
    assert aside == [good]


def test_a_server_that_does_not_say_what_it_has_is_waited_for_and_then_it_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mute(transport: Transport, live: Live) -> int:
        world.did.append("look")
        raise CommandFailed("qwen doesn't say how many requests it has", command="GET /metrics", status=1, where="h1")

    now = iter(range(0, 100_000, 5))
    monkeypatch.setattr(drive, "in_flight", mute)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    end, made, _ = take(world)
    assert end is At.DONE
    assert world.did.count("look") > 2
    assert [words for words in made.result.warnings if "doesn't say how many" in words]
