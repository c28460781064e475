"""The lab as a rollout's judge sees it: the verbs as processes, releases as inventories, a load, and the truth.

What is true is read past the engine: from Docker on the hosts, from the instances' own ports, from the gateways' verb.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleet.lab import lab, network, services
from fleet.lab.machine import LabError
from fleet.lab.names import HOSTS, INVENTORY, LabHost
from fleet.rollout import journal
from fleet.target import ROOT

MODEL: Final = "Qwen2.5-VL-7B"
INSTANCE: Final = "qwen-vl"
#: The variable by which a release is told from another: the server doesn't know it.
NUMBER: Final = "FLEETLAB_RELEASE"
PORT: Final = 8080  # the gateways'
WORKERS: Final = [host for host in HOSTS if host.count]
GATEWAYS: Final = [host for host in HOSTS if not host.count]
#: The load: of stand-ins 16 ask at once; real vLLMs get two requests in three seconds, which leaves some of two cores
#: to the one that starts (as many as they can answer would leave none, as no GPU host would do to another).
PACE: Final = ("--workers", "16") if len(WORKERS) > 3 else ("--rate", "0.67")
_MARKER: Final = "/var/lib/fleet/rollout.json"


@dataclass(frozen=True)
class Ran:
    """A verb that has ended: its exit code, what it printed, how long it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> dict[str, Any]:
        """Its one JSON document; empty where it printed none."""
        try:
            found = json.loads(self.out)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass
class Verb:
    """A verb under way, in a process group of its own: it can be killed as a machine that dies kills it."""

    process: subprocess.Popen[bytes]
    place: Path
    began: float = field(default_factory=time.monotonic)

    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL to all of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def wait(self, seconds: float) -> Ran:
        """What came of it; one that takes longer is killed (exit code -9). Ctrl-C is handed on to it."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        except KeyboardInterrupt:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            raise
        out, err = (self.place.with_suffix(end).read_text(errors="replace") for end in (".out", ".err"))
        return Ran(self.process.returncode, out, err, time.monotonic() - self.began)


@dataclass
class Fleet:
    """The lab's fleet; everything that a benchmark writes lies in ``place``."""

    place: Path
    number: int = 0
    calls: int = 0
    variables: dict[str, Any] = field(default_factory=dict)
    key: str = ""

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        told = self.inv("inventory", "--json", "--host", WORKERS[0].name, timeout=120).document
        self.told = told
        self.key = self.key or self._client_key()
        self.number = max((int(seen.number or 0) for seen in self.truth().values()), default=0)

    def _client_key(self) -> str:
        keys = (self.told.get("gateway") or {}).get("keys") or {}
        return str(next(iter(keys.values()), "")) or str(self.told["instances"][0].get("api_key", ""))

    # Verbs.

    def inv(self, *words: str, timeout: float = 900) -> Ran:
        """Run a verb to its end."""
        return self.start(*words).wait(timeout)

    def start(self, *words: str) -> Verb:
        """Start a verb; its output goes to files."""
        self.calls += 1
        place = self.place / f"{self.calls:03}-{words[0]}"
        environment = {**os.environ, "FLEET_INVENTORY": os.pathsep.join([INVENTORY, *self._change()])}
        with place.with_suffix(".out").open("wb") as out, place.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                network.as_operator([sys.executable, "-m", "fleet", *words]),
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT,
                env={**environment, "PYTHONPATH": str(ROOT)}, start_new_session=True,
            )  # fmt: skip
        return Verb(process, place)

    def _change(self) -> list[str]:
        """The inventory that says what differs from the lab's own, where something does."""
        if not self.variables:
            return []
        path = self.place / "change.yml"
        change = {"all": {"children": {"gpu-cluster": {"vars": self.variables}}}}
        path.write_text(json.dumps(change, indent=1))  # JSON is YAML
        return [str(path)]

    def next_release(self, env: Mapping[str, Any] | None = None, **variables: Any) -> int:
        """Let the inventory want another release, with this in its environment; its number."""
        self.number += 1
        merged = {**(self.told.get("vllm_env") or {}), **(env or {}), NUMBER: str(self.number)}
        self.variables = {**self.variables, **variables, "vllm_env": merged}
        return self.number

    def rollout(self, *words: str) -> Verb:
        """Start a rollout of what the inventory wants."""
        return self.start("rollout", "--hosts", "gpu-cluster", "--yes", "--json", *words)

    # Load.

    @contextlib.contextmanager
    def load(self, name: str, *, pace: Sequence[str] = PACE, at_least: int = 0) -> Iterator[Load]:
        """A load on all gateways while the inside lasts, and on until it has asked ``at_least``."""
        words = ["--model", MODEL, "--key", self.key, *pace, "--at-least", str(at_least)]
        for gateway in GATEWAYS:
            words += ["--url", f"http://{gateway.address}:{PORT}"]
        failures = self.place / f"{name}-failures.jsonl"
        failures.unlink(missing_ok=True)
        with (self.place / f"{name}-load.json").open("w+b") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.load", *words, "--out", str(failures)],
                stdin=subprocess.DEVNULL, stdout=out, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
            load = Load(failures)
            started = time.time()
            try:
                yield load
                load.covered = time.time() - started
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(150 + at_least / 10)
                except subprocess.TimeoutExpired:
                    process.kill()
                out.seek(0)
                with contextlib.suppress(ValueError):
                    load.summary = json.loads(out.read() or b"{}")
                if load.failed():
                    self._keep_gateway_logs(name, started)

    def _keep_gateway_logs(self, name: str, since: float) -> None:
        """What the gateways wrote since then: HAProxy says of each request how it ended, and where."""
        for gateway in GATEWAYS:
            with contextlib.suppress(LabError):
                said = lab.run(gateway, f"journalctl -u fleet-gateway -o short-precise --no-pager --since @{since:.0f}")
                (self.place / f"{name}-{gateway.name}.log").write_text(said)

    # The truth.

    def truth(self) -> dict[str, Seen]:
        """What runs on each host now."""
        return {host.name: look(host) for host in WORKERS}

    def settled(self, allowed: Mapping[str, set[str]], seconds: float = 90) -> list[str]:
        """What isn't as it must be when all is over, in words; waits up to ``seconds`` for it to come right."""
        until = time.monotonic() + seconds
        while wrong := self._wrong(allowed):
            if time.monotonic() > until:
                return wrong
            time.sleep(3)
        return []

    def _wrong(self, allowed: Mapping[str, set[str]]) -> list[str]:
        found = []
        for name, seen in self.truth().items():
            if not seen.healthy:
                found.append(f"{name}: {seen.why or 'its instance is not healthy'}")
            elif seen.number not in allowed[name]:
                found.append(f"{name}: serves release {seen.number!r}, allowed are {sorted(allowed[name])}")
            if seen.marker:
                found.append(f"{name}: a rollout's mark is left")
        found += self._wrong_gateways()
        path = journal.open_one()
        if path is not None:
            found.append(f"the journal of {path.parent.name} is {journal.read(path).state}")
        held = self.inv("lock", "--json", timeout=120)
        found += [f"{name}: its lock is held: {who}" for name, who in held.document.items() if who != "free"]
        return found

    def _wrong_gateways(self) -> list[str]:
        ran = self.inv("gateway", "--json", timeout=120)
        found = [] if ran.code == 0 else [f"./inv gateway ends with {ran.code}: {ran.err[-200:]}"]
        now = time.time()
        for gateway in GATEWAYS:
            states = ran.document.get(gateway.name)
            if states is None or "error" in states:
                found.append(f"{gateway.name}: it says nothing")
                continue
            for host in WORKERS:
                state = states.get(f"{host.name}:{INSTANCE}", {})
                over = not state.get("expires") or state["expires"] < now - 15
                if state.get("admin") != "ready" and over:
                    found.append(f"{gateway.name}: {host.name} is {state.get('admin', 'unknown')} beyond its expiry")
                elif state.get("admin") != "ready":
                    found.append(f"{gateway.name}: {host.name} is still drained, {state['expires'] - now:.0f} s to go")
                elif not state.get("up"):
                    found.append(f"{gateway.name}: {host.name} is down")
        return found


@dataclass
class Load:
    """A load that runs, or ran: its summary, and where its failures stand."""

    failures: Path
    summary: dict[str, Any] = field(default_factory=dict)
    covered: float = 0.0  #: seconds of what was judged under it

    def failed(self) -> list[dict[str, Any]]:
        """Its failures, oldest first."""
        if not self.failures.exists():
            return []
        return [json.loads(line) for line in self.failures.read_text().splitlines() if line.strip()]


@dataclass(frozen=True)
class Seen:
    """What runs on one host: the release's number, and whether its server answers."""

    number: str
    healthy: bool
    marker: bool
    why: str = ""


def look(host: LabHost) -> Seen:
    """Look at a host past the engine."""
    script = (
        f"docker inspect -f '{{{{range .Config.Env}}}}{{{{println .}}}}{{{{end}}}}' fleet-{INSTANCE} 2>/dev/null |"
        f" sed -n 's/^{NUMBER}=/number /p'; [ ! -e {_MARKER} ] || echo marker; :"
    )
    try:
        said = lab.run(host, script, timeout=30).splitlines()
    except (LabError, OSError, ValueError) as error:
        return Seen("", False, False, f"it is down: {error}")
    number = next((line.split()[1] for line in said if line.startswith("number ")), "")
    return Seen(number, _healthy(host), "marker" in said)


def _healthy(host: LabHost) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{host.address}:8000/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass
class Downloads:
    """What hosts fetch from registry and hub from now on."""

    began: int = field(default_factory=lambda: _registry_log().stat().st_size)
    asked: int = field(default_factory=lambda: len(services.hub_log()))

    def blobs(self) -> int:
        """Layers and configs that the registry was asked for."""
        with _registry_log().open("rb") as log:
            log.seek(self.began)
            lines = log.read().decode(errors="replace").splitlines()
        return sum('"GET /v2/' in line and "/blobs/" in line for line in lines)

    def files(self) -> int:
        """Requests for files that the hub has had."""
        return sum("FilePath" in line["path"] for line in services.hub_log()[self.asked :])


def _registry_log() -> Path:
    from fleet.lab import machine

    return machine.work() / "services" / "registry.log"
