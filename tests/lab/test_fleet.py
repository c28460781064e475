"""The promises of the whole, on real hosts over real SSH, in the order in which an operator meets them.

The tests of this file build on each other: the lab is raised afresh, and what one test provisions the next looks at.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import report
from fleet.lab import lab, services
from tests.lab.operator_ import Fleet

KEY = "lab-key-0123456789"
WEIGHTS = "/srv/models/Qwen--Qwen2.5-VL-7B-Instruct"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    lab.down(lambda text: None)
    lab.up(lambda text: report.note(f"lab  {text}"))
    services.fault({})
    yield Fleet(tmp_path_factory.mktemp("fleet"))
    services.fault({})


def test_killed_at_its_worst_moments_the_next_run_goes_on_and_does_nothing_twice(fleet: Fleet) -> None:
    h2 = lab.host("h2")
    services.fault({"rate": 2_000_000})  # slow enough to be caught at it
    for moment in ("install packages:docker.io", "pull image:", "download weights:"):
        process = fleet.start("provision", "--limit", "h2", "--yes")
        assert process.stderr
        for line in process.stderr:
            if moment in line and "known after" not in line:
                break
        else:
            pytest.fail(f"it never came to {moment!r}")
        time.sleep(0.7)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    services.fault({})
    result = fleet("provision", "--limit", "h2")
    assert result["hosts"]["h2"]["failed"] == 0
    apt = lab.run(h2, "grep -c '^Install:.*docker.io' /var/log/apt/history.log")
    assert apt.strip() == "1"
    assert lab.run(h2, "ls /var/lib/fleet/jobs").strip() == ""
    assert lab.run(h2, f"ls -d {WEIGHTS}/partial-* 2>/dev/null | wc -l").strip() == "0"


def test_three_hosts_and_their_gateway_are_provisioned_from_nothing(fleet: Fleet) -> None:
    result = fleet("provision", "--forks", "1")
    for name in ("h1", "h2", "h3", "g1"):
        assert result["hosts"][name]["failed"] == 0
        assert result["hosts"][name]["failures"] == []


def test_a_second_provision_changes_nothing_in_one_connection_and_two_commands(fleet: Fleet) -> None:
    result = fleet("provision", "--hosts", "gpu-cluster")
    for name, host in result["hosts"].items():
        assert (host["changed"], host["failed"], host["waits_for_rollout"]) == (0, 0, []), name
        log = (fleet.logs() / f"{name}.log").read_text()
        assert sum(line.startswith("$ ") for line in log.splitlines()) == 2, name
    assert fleet("lock", "--hosts", "gpu-cluster") == {"h1": "free", "h2": "free", "h3": "free"}


def test_verify_is_green_with_a_text_and_an_image_answered_on_every_host(fleet: Fleet) -> None:
    found = fleet("verify", "--hosts", "gpu-cluster")
    assert found["failed"] == 0, json.dumps(found.get("reasons"), indent=1)
    for checks in found["hosts"].values():
        assert any("image" in name and end == "passed" for name, end in checks.items())
        assert "skipped" not in {end for name, end in checks.items() if "answer" in name}


def test_what_is_taken_away_by_hand_is_found_by_plan_and_mended_by_provision(fleet: Fleet) -> None:
    h1 = lab.host("h1")
    lab.run(
        h1,
        "echo >> /etc/sysctl.d/60-fleet.conf; chmod 0644 /etc/fleet/instances/qwen-vl/current/env; "
        "apt-mark unhold nvidia-container-toolkit >/dev/null; "
        f"f=$(ls {WEIGHTS}/current/config.json); echo ' ' >> $f; "
        # Stopped first: systemd would start it by itself while its weights are mended, and that counts as a restart.
        "systemctl stop fleet-qwen-vl; rm /etc/systemd/system/fleet-qwen-vl.service",
    )
    plan = fleet("plan", "--limit", "h1", "--detailed-exitcode", status=3)["hosts"]["h1"]
    found = " ".join(change["id"] for change in plan["changes"] + plan["waits_for_rollout"])
    for kind in (
        "/etc/sysctl.d/60-fleet.conf",
        "release:qwen-vl",
        "nvidia-container-toolkit",
        "weights:",
        "current:",
        "serving:",
    ):
        assert kind in found, (kind, found)
    fleet("provision", "--limit", "h1")
    assert fleet("verify", "--limit", "h1")["failed"] == 0
    lab.run(h1, "docker rm -f fleet-qwen-vl")  # systemd would start it again by itself, some time later
    plan = fleet("plan", "--limit", "h1", "--detailed-exitcode", status=3)["hosts"]["h1"]
    assert [change["id"] for change in plan["changes"]] == ["serving:qwen-vl"]
    fleet("provision", "--limit", "h1")
    again = fleet("plan", "--limit", "h1", "--detailed-exitcode")
    assert again["hosts"]["h1"]["changes"] == []
    assert lab.run(h1, "stat -c %a /etc/fleet/instances/qwen-vl/current/env").strip() == "600"


def test_a_changed_argument_reaches_its_instance_by_rollout_and_by_nothing_else(fleet: Fleet, tmp_path: Path) -> None:
    extra = tmp_path / "extra.yml"
    extra.write_text("all: {hosts: {h3: {vllm_args: {max-model-len: 1024, limit-mm-per-prompt: {image: 1}}}}}\n")
    changed = Fleet(fleet.home)
    changed.inventory = [*fleet.inventory, "--inventory", str(extra)]
    before = fleet("status")["h3"]["qwen-vl"]["release"]
    result = changed("provision", "--limit", "h3")["hosts"]["h3"]
    assert result["waits_for_rollout"] == ["current:qwen-vl"]
    assert fleet("status")["h3"]["qwen-vl"]["release"] == before
    lab.run(lab.host("h3"), "systemctl restart fleet-qwen-vl")
    assert fleet("status")["h3"]["qwen-vl"]["release"] == before
    for _ in range(120):  # a server that still starts can't be measured, and the new release is held against the old
        if (
            lab.run(lab.host("h3"), "/etc/fleet/instances/qwen-vl/current/health >/dev/null 2>&1; echo $?").strip()
            == "0"
        ):
            break
        time.sleep(2)
    rolled = changed("rollout", "--limit", "h3")["hosts"]["h3"]
    assert (rolled["failed"], rolled["waits_for_rollout"]) == (0, [])
    assert fleet("status")["h3"]["qwen-vl"]["release"] != before
    assert changed("plan", "--limit", "h3", "--detailed-exitcode")["hosts"]["h3"]["changes"] == []


def test_one_hosts_failure_is_its_own(fleet: Fleet, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("all: {hosts: {h3: {ansible_become_password: not-it}}}\n")
    other = Fleet(fleet.home)
    other.inventory = [*fleet.inventory, "--inventory", str(wrong)]
    result = other("provision", status=1)["hosts"]
    assert result["h3"]["failures"][0]["message"] == "sudo refused the password"
    assert (result["h1"]["failed"], result["h2"]["failed"]) == (0, 0)
    assert "not-it" not in "".join(path.read_text() for path in fleet.logs().iterdir())


def test_what_was_done_is_written_down(fleet: Fleet) -> None:
    lines = fleet("history", "--hosts", "h2", "--last", "200")
    assert any(line["resource"].startswith("serving:") and line["result"] == "done" for line in lines)
    assert KEY not in json.dumps(lines)


def test_no_secret_is_in_argv_or_in_a_file_that_others_may_read(fleet: Fleet) -> None:
    for name in ("h1", "h2", "h3"):
        host = lab.host(name)
        # The last letter in brackets: this grep's own words don't match what it looks for.
        argv = lab.run(host, f"grep -las '{KEY[:-1]}[{KEY[-1]}]' /proc/[0-9]*/cmdline || true")
        assert argv.strip() == ""
        loose = lab.run(host, f"grep -rls {KEY} /etc /var/lib/fleet /run/fleet 2>/dev/null | xargs -r stat -c '%a %n'")
        assert all(line.startswith("600 ") for line in loose.splitlines()), loose


def test_uninstall_leaves_nothing_of_ours_that_runs(fleet: Fleet) -> None:
    fleet("uninstall", "--limit", "h3", "--yes")
    h3 = lab.host("h3")
    assert lab.run(h3, "docker ps -q --filter label=fleet.instance; ls -d /etc/fleet 2>/dev/null || true").strip() == ""
    assert lab.run(h3, "systemctl list-units --all --no-legend 'fleet-*'").strip() == ""
