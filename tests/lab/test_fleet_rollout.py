"""A rollout's promises on the lab's hosts, under load through the gateway: no request fails, whatever is rolled out.

The light stand-in serves here (the image holds it beside the real vLLM): what is tested is who is stopped when, not
what a model says. The tests build on each other; ``benchmarks/rollout.py`` does more of it, on more hosts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rollout_faults, rollout_fleet
from fleet import report
from fleet.lab import lab, services
from fleet.target import ROOT
from tests.lab.operator_ import Fleet

KEY = "lab-key-0123456789"
OTHER_KEY = "lab-key-of-another-day"
HOSTS = ("h1", "h2", "h3")
STAND_IN = {"FLEETLAB_SERVES": "stand-in", "FLEETLAB_TOKENS_PER_SECOND": 300}
#: Short terms: a stand-in starts at once, and what is worse than before shows at once.
QUICK = ("--min-healthy", "2s", "--start-deadline", "25s", "--max-regression", "35%", "--drain-deadline", "30s")


class Operator:
    """The lab's fleet as it is told now; each telling is one more inventory on top."""

    def __init__(self, fleet: Fleet, place: Path) -> None:
        self.fleet, self.place, self.number = fleet, place, 0

    def told(self, env: Mapping[str, object] | None = None, **instance: object) -> Fleet:
        """With this environment for all instances; ``instance`` is what else their one instance is told."""
        self.number += 1
        vllm_env = {**STAND_IN, **(env or {})}
        one = {
            "name": "qwen-vl", "model": "Qwen/Qwen2.5-VL-7B-Instruct", "served_name": "Qwen2.5-VL-7B",
            "api_key": KEY, **instance,
        }  # fmt: skip
        variables = {"vllm_env": vllm_env, "instances": [one], "gateway": {"drain_seconds": 20, "slow_start": 1}}
        keys = {"keys": {"old": KEY, "new": OTHER_KEY}, "drain_seconds": 20}
        children = {"gpu-cluster": {"vars": variables}, "gateway": {"vars": {"gateway": keys}}}
        document = {"all": {"children": children}}
        return self.fleet.told(self.place / f"told-{self.number}.yml", document)

    def releases(self) -> dict[str, str]:
        """Host → the release that serves there; everything must serve."""
        status = self.fleet("status", "--hosts", "gpu-cluster")
        assert {host: status[host]["qwen-vl"]["state"] for host in HOSTS} == dict.fromkeys(HOSTS, "serving")
        return {host: status[host]["qwen-vl"]["release"] for host in HOSTS}

    def all_is_well(self) -> None:
        """Every server is ready at the gateway, no host is locked, none is in the middle of anything."""
        until = time.monotonic() + 40  # a drain that nobody renews is kept for 20 s
        while True:
            states = self.fleet("gateway")["g1"]
            if {state["admin"] for state in states.values()} == {"ready"} and all(s["up"] for s in states.values()):
                break
            assert time.monotonic() < until, states
            time.sleep(1)
        assert set(self.fleet("lock", "--hosts", "gpu-cluster").values()) == {"free"}
        for host in HOSTS:
            assert lab.run(lab.host(host), "ls /var/lib/fleet/rollout.json 2>/dev/null || true").strip() == ""


@contextlib.contextmanager
def load(place: Path, *, key: str = KEY, workers: int = 4) -> Iterator[dict[str, Any]]:
    """A steady mixed load through the gateway while the block runs; what came of it is in the dictionary afterwards."""
    words = ["--url", f"http://{lab.host('g1').address}:8080", "--model", "Qwen2.5-VL-7B", "--key", key]
    words += ["--workers", str(workers), "--tokens", "12", "--seconds", "600", "--out", str(place / "load.jsonl")]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    found: dict[str, Any] = {}
    try:
        time.sleep(1)
        yield found
        time.sleep(1)
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        found.update(json.loads(out.strip().splitlines()[-1]))


def unharmed(found: Mapping[str, Any]) -> None:
    assert found["requests"] > 100
    assert found["failed"] == 0, found["errors"]


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    lab.up(lambda text: report.note(f"lab  {text}"))
    services.fault({})
    place = tmp_path_factory.mktemp("rollout")
    made = Operator(Fleet(place / "home"), place)
    made.told()("provision", "--yes")
    # Where another test left these hosts with the real server, or one of another pace.
    made.told()("rollout", "--yes", "--min-healthy", "1s", "--max-regression", "1000%", "--same-answers", "0%")
    made.told()("provision", "--hosts", "gateway", "--yes")  # it forgets where the servers were
    yield made
    services.fault({})


def test_a_port_and_a_key_reach_all_hosts_and_a_rollback_takes_them_back_without_a_download_or_a_failed_request(
    operator: Operator, tmp_path: Path
) -> None:
    def ports(told: Fleet) -> set[str]:
        states = told("gateway")["g1"].values()
        assert {(state["up"], state["admin"]) for state in states} == {(True, "ready")}
        return {state["address"].rpartition(":")[2] for state in states}

    before = operator.releases()
    told = operator.told({"ROUND": "another port"}, port=8017, api_key=OTHER_KEY)
    with load(tmp_path) as found:
        (change,) = [c for c in told("plan")["hosts"]["g1"]["changes"] if c["id"] == "gateway:config"]
        assert "stays where it is until it is rolled out" in change["why"]
        assert ports(told) == {"8000"}
        # As an earlier version's: systemd must have read the new one before HAProxy is reloaded by it.
        unit = "/etc/systemd/system/fleet-gateway.service"
        lab.run(lab.host("g1"), f"sed -i '/^ExecReload/s/ reload .*/ of-old/' {unit} && systemctl daemon-reload")
        done = told("rollout", "--yes", "--why", "another port", *QUICK)
        assert set(done["ends"].values()) == {"DONE"}
        assert [wave["canary"] for wave in done["waves"]] == [True, True, True]  # three hosts, three classes
        assert ports(told) == {"8017"}
        assert all(operator.releases()[host] != before[host] for host in HOSTS)
        operator.all_is_well()
    unharmed(found)
    services.fault({})  # the hub's log begins anew
    with load(tmp_path, key=OTHER_KEY) as found:
        done = told("rollback", "--yes", *QUICK, "--no-canaries", "--batch", "2", "--max-unavailable", "2")
        assert services.hub_log() == []
        assert sorted(len(wave["hosts"]) for wave in done["waves"]) == [1, 2]
        assert set(done["ends"].values()) == {"DONE"}
        assert operator.releases() == before
        assert ports(told) == {"8000"}
        as_before = operator.told()
        (change,) = as_before("plan")["hosts"]["g1"]["changes"][:1]
        assert "forgets where no server is any more" in change["why"]
        as_before("provision", "--yes")
        assert as_before("plan")["hosts"]["g1"]["changes"] == []
        operator.all_is_well()
    unharmed(found)


def test_a_worse_release_is_stopped_at_the_first_canary_and_put_back(operator: Operator, tmp_path: Path) -> None:
    before = operator.releases()
    with load(tmp_path) as found:
        done = operator.told({"ROUND": 1, "FLEETLAB_NONSENSE": "repeat"})("rollout", "--yes", *QUICK, status=1)
    unharmed(found)
    first = done["waves"][0]["hosts"][0]
    assert done["ends"] == {first: "REVERTED"}
    assert done["hosts"][first]["failures"][0]["resource"] == "gate answers"
    assert operator.releases() == before
    operator.all_is_well()


def test_a_name_that_clients_ask_for_is_not_taken_away_unsaid(operator: Operator) -> None:
    told = operator.told({"ROUND": 1}, served_name="Qwen3-VL")
    plan = told("plan")["hosts"]["g1"]
    assert [change["interrupts"] for change in plan["waits_for_rollout"]] == [["model Qwen2.5-VL-7B"]]
    refused = told("rollout", "--yes", status=2)
    assert "Qwen2.5-VL-7B would be left without capacity" in refused["error"]["message"]
    assert "served_name: Qwen2.5-VL-7B" in refused["error"]["hint"]
    operator.all_is_well()


def test_a_killed_rollout_is_ended_from_another_machine(operator: Operator, tmp_path: Path) -> None:
    before = operator.releases()
    told = operator.told({"ROUND": "killed at its gates"})
    other = Fleet(tmp_path / "another")
    other.inventory = told.inventory
    with load(tmp_path) as found:
        process = told.start("rollout", "--yes", *QUICK)
        assert process.stderr
        for line in process.stderr:
            if "gates" in line and "waits" not in line:
                break
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert "was cut off" in operator.fleet("rollout", "--yes", status=2)["error"]["message"]
        run = max((operator.fleet.home / "rollouts").iterdir()).name
        refused = other("rollout", "--yes", status=2)["error"]
        assert f"is in the middle of the rollout {run}" in refused["message"]
        assert f"--run {run} --hosts" in refused["hint"]
        done = other("rollout.abort", "--run", run, "--hosts", "gpu-cluster", "--yes", inventory=True)
        assert set(done["ends"].values()) == {"REVERTED"}
        assert operator.fleet("rollout.abort", "--yes", inventory=False)["state"] == "aborted"  # it came back
    unharmed(found)
    assert operator.releases() == before
    operator.all_is_well()


@pytest.mark.parametrize("seed", [12, 6], ids=["host-cut-off", "cut-off"])
def test_a_fault_at_a_moment_drawn_by_its_seed_leaves_one_release_or_the_other_everywhere(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(operator.fleet.home))
    fleet = rollout_fleet.Fleet(tmp_path, variables={"gateway": {"drain_seconds": 20, "slow_start": 1}})
    fleet.told["vllm_env"] = STAND_IN
    round_ = rollout_faults.one(fleet, seed, hosts_each=1)
    assert round_["good"], round_
    operator.all_is_well()
