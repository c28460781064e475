"""Run the shipped checks (tests/verify) against hosts: pytest and Testinfra, on this project's own connections.

Testinfra's own back ends open a connection for each command and trust any key; here every check goes through the one
connection that a run has to a host. The checks of different hosts run at the same time, those of one host in order;
pytest then reports what came of each.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from fleet.crew import Crew
from fleet.errors import FleetError
from fleet.progress import Progress
from fleet.settings import HostSettings, Instance
from fleet.shell import PREAMBLE
from fleet.survey import Lookups, gather
from fleet.target import ROOT, Target
from fleet.transport import Transport

#: The suite that ships.
CHECKS = ROOT / "tests" / "verify"


class TransportBackend(BaseBackend):  # type: ignore[misc,unused-ignore]  # Testinfra publishes no types
    """Testinfra's commands over a connection of ours, as root."""

    NAME = "fleet"

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport.name)
        self._transport = transport

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """Run ``command``, with ``args`` quoted into it as Testinfra does."""
        whole = self.get_command(command, *args)
        reply = self._transport.run(f"{PREAMBLE}\n{whole}", timeout=120)
        return self.result(reply.status, whole.encode(), reply.stdout, reply.stderr)


@dataclass(frozen=True, eq=False)
class Place:
    """What one check is about: a host, or one instance of it. ``target`` is an error where the host didn't answer."""

    name: str
    host: Host
    target: Target | FleetError
    instance: Instance | None = None

    @property
    def id(self) -> str:
        """``HOST`` or ``HOST-INSTANCE``."""
        return f"{self.name}-{self.instance.name}" if self.instance else self.name


@dataclass
class Verified:
    """What came of it: host → check → passed, failed or skipped; and why, in words, where it didn't pass."""

    hosts: dict[str, dict[str, str]] = field(default_factory=dict)
    reasons: dict[str, dict[str, str]] = field(default_factory=dict)

    def count(self, outcome: str) -> int:
        """How many checks ended so."""
        return sum(list(checks.values()).count(outcome) for checks in self.hosts.values())

    def add(self, host: str, check: str, outcome: str, words: str) -> None:
        """Write down one check."""
        self.hosts.setdefault(host, {})[check] = outcome
        if outcome != "passed":
            self.reasons.setdefault(host, {})[check] = words

    def as_json(self) -> dict[str, Any]:
        """The document of ``verify --json``."""
        return {
            "hosts": self.hosts,
            "passed": self.count("passed"),
            "failed": self.count("failed"),
            "skipped": self.count("skipped"),
            "reasons": self.reasons,
        }


@dataclass(frozen=True)
class _Ran:
    """One check's end: what it raised, if anything, and how many seconds it took."""

    error: BaseException | None
    seconds: float


class Checks:
    """The pytest plugin: gives each check its places, runs hosts side by side, and keeps what came of it."""

    def __init__(
        self, crew: Crew, targets: Mapping[str, Target | FleetError], told: Mapping[str, HostSettings]
    ) -> None:
        self.verified = Verified({name: {} for name in targets})
        self.interrupted = False
        self._crew = crew
        self._ran: dict[str, _Ran] = {}
        self._hosts: list[Place] = []
        self._instances: list[Place] = []
        for name, target in targets.items():
            host = Host(TransportBackend(crew.transport(name)))
            self._hosts.append(Place(name, host, target))
            self._instances.extend(Place(name, host, target, instance) for instance in told[name].instances)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Tracebacks in the short form: the long one prints what a check was given, all of a host's settings."""
        if config.getoption("tbstyle", "auto") == "auto":
            config.option.tbstyle = "short"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A check that asks for ``instance`` runs for each instance, any other for each host."""
        if "place" in metafunc.fixturenames:
            places = self._instances if "instance" in metafunc.fixturenames else self._hosts
            metafunc.parametrize("place", places, ids=[place.id for place in places], indirect=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Run all checks, each host's in a thread of its own; pytest's own loop then goes through the results."""
        by_host: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            place = _place(item)
            if place:
                by_host.setdefault(place.name, []).append(item)

        def work(name: str, _: Transport) -> None:
            for item in by_host[name]:
                self._ran[item.nodeid] = _run(item)

        self._crew.each(by_host, work)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Instead of a call: what came of it before."""
        ran = self._ran.get(pyfuncitem.nodeid)
        if ran is None:
            return None
        if ran.error is not None:
            raise ran.error
        return True

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Tell Ctrl-C from pytest's own end at a suite that can't be loaded, which it also calls an interrupt."""
        self.interrupted = type(excinfo.value) is KeyboardInterrupt

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report the time that the check took, and keep its outcome."""
        report = yield
        place, ran = _place(item), self._ran.get(item.nodeid)
        if place is None or (report.when != "call" and report.passed):
            return report
        if ran is not None:
            report.duration = ran.seconds
        check = item.name.partition("[")[0].removeprefix("test_")
        check = f"{place.instance.name}: {check}" if place.instance else check
        words = _words(call.excinfo.value) if call.excinfo else ""
        self.verified.add(place.name, check, report.outcome, words)
        return report


def targets(
    crew: Crew, told: Mapping[str, HostSettings], lookups: Lookups, progress: Progress
) -> dict[str, Target | FleetError]:
    """All hosts with their facts, asked side by side; an error where one didn't answer."""

    def see(name: str, transport: Transport) -> Target:
        progress.doing(name, "looking")
        try:
            return Target(
                name, told[name], gather(transport), lookups.digests, lookups.manifests, lookups.ca,
                peers=lookups.peers, gateway=name in lookups.gateways,
            )  # fmt: skip
        finally:
            progress.finished(name)

    return crew.each(told, see)


def verifier(
    crew: Crew, told: Mapping[str, HostSettings], lookups: Lookups, progress: Progress
) -> Callable[[str], list[str]]:
    """A function that runs all checks on one host and gives, in words, those that failed: a rollout's last gate."""

    def run(name: str) -> list[str]:
        here = {name: told[name]}
        found = verify(Checks(crew, targets(crew, here, lookups, progress), here))
        reasons = found.reasons.get(name, {})
        return [f"{check}: {reasons.get(check, '')}" for check, end in found.hosts[name].items() if end == "failed"]

    return run


def verify(checks: Checks, *, junit: str = "") -> Verified:
    """Run the suite in this process, silently; ``junit`` is a file to write for CI.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        FleetError: the suite itself is broken.
    """
    quiet = ["-c", os.devnull, "-s", "-p", "no:terminal", "-p", "no:cacheprovider", "-W", "default"]
    where = ["--rootdir", str(ROOT), "--import-mode=importlib", "--disable-plugin-autoload", str(CHECKS)]
    code = pytest.main([*quiet, *([f"--junitxml={junit}"] if junit else []), *where], plugins=[checks])
    if checks.interrupted:
        raise KeyboardInterrupt
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise FleetError(
            f"the suite in {CHECKS} could not be run (pytest ended with {int(code)})",
            hint="run it by hand to see why: pytest tests/verify --fleet all",
        )
    return checks.verified


def _place(item: pytest.Item) -> Place | None:
    callspec = getattr(item, "callspec", None)
    place = callspec.params.get("place") if callspec else None
    return place if isinstance(place, Place) else None


def _run(item: pytest.Item) -> _Ran:
    """Call a check with what it asks for by name."""
    function, place = item.obj, _place(item)  # type: ignore[attr-defined]  # pytest.Function has it
    started = time.monotonic()
    try:
        function(**{name: getattr(place, name) for name in inspect.signature(function).parameters})
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:  # whatever it is, pytest shows it
        return _Ran(error, time.monotonic() - started)
    return _Ran(None, time.monotonic() - started)


def _words(error: BaseException) -> str:
    """An outcome's reason in one line."""
    if isinstance(error, FleetError):
        return f"{error.message} ({error.hint})" if error.hint else error.message
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
