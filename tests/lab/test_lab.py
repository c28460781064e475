"""What the lab itself promises: real hosts that boot, reboot and lose power, services around them, no leftovers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.lab import hosts, lab, machine, network, services
from fleet.lab.machine import LabError
from fleet.lab.names import HOSTS, HUB_PORT, OPS_PASSWORD, REGISTRY, SERVICE, LabHost

pytestmark = pytest.mark.usefixtures("raised")
EACH = pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
H1, H2, H3 = HOSTS[:3]


def ssh(host: LabHost, told: dict[str, Any], command: str) -> str:
    """What a plain ssh by the keys that the lab wrote answers."""
    options = [f"UserKnownHostsFile={told['known_hosts']}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
    words = ["ssh", "-F", "none", "-i", told["private_key"], *(part for option in options for part in ("-o", option))]
    done = subprocess.run([*words, f"{host.user}@{host.address}", command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def boot_id(host: LabHost) -> str:
    """Which boot this is; empty while there is none."""
    with contextlib.suppress(LabError, OSError):
        return lab.run(host, "cat /proc/sys/kernel/random/boot_id").strip()
    return ""


def wait_for(holds: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it didn't come to be so"
        time.sleep(0.2)


def inits(host: LabHost) -> list[int]:
    """Every init that runs in the host's namespace; more than one would be two hosts on one disk."""
    return [pid for pid in network.processes(host.namespace) if _comm(pid) == "systemd" and _is_first(pid)]


def _comm(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _is_first(pid: int) -> bool:
    """Whether the process is number 1 where it lives."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(line for line in lines if line.startswith("NSpid:")).split()[-1] == "1"
    return False


@EACH
def test_a_plain_ssh_gets_in_by_the_keys_that_the_lab_wrote(host: LabHost, told: dict[str, Any]) -> None:
    assert ssh(host, told, "uname -n; id -un").split() == [host.name, host.user]


@EACH
def test_a_host_has_a_systemd_of_its_own_with_nothing_failed(host: LabHost) -> None:
    lab.run(host, "systemctl is-system-running --wait || systemctl --failed | grep -q '^0 loaded'")

    assert lab.run(host, "cat /proc/1/comm").strip() == "systemd"


def test_an_ordinary_user_becomes_root_by_his_password_only(told: dict[str, Any]) -> None:
    assert ssh(H3, told, f"echo {OPS_PASSWORD} | sudo -S -p '' id -u").strip() == "0"
    assert ssh(H3, told, "sudo -n id -u 2>/dev/null || echo refused").strip() == "refused"


@EACH
def test_a_host_sees_its_gpus_on_the_bus_by_their_real_ids(host: LabHost) -> None:
    assert lab.run(host, "lspci -Dnn").lower().count("[10de:") == host.count


def test_hosts_get_packages_from_the_signed_mirror_and_from_nowhere_else() -> None:
    lab.run(H1, "apt-get update -q")

    assert "docker.io" in lab.run(H1, "apt-cache policy docker.io")
    with pytest.raises(LabError):
        lab.run(H1, "timeout 3 sh -c 'echo | bash -c \"cat >/dev/tcp/192.0.2.1/80\"'")


def test_the_registry_answers_by_the_labs_own_ca_alone(told: dict[str, Any]) -> None:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"https://{REGISTRY}/v2/", verify=told["ca"], timeout=10).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            session.get(f"https://{REGISTRY}/v2/", timeout=10)


@pytest.fixture
def faults() -> Iterator[Callable[[dict[str, Any]], None]]:
    yield services.fault
    services.fault({})


def test_the_hub_cuts_corrupts_and_refuses_when_told_and_counts_what_was_asked(
    faults: Callable[[dict[str, Any]], None],
) -> None:
    import requests

    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    url = f"http://{SERVICE}:{HUB_PORT}/api/v1/models/{name}/repo?Revision=master&FilePath=config.json"
    with requests.Session() as session:
        session.trust_env = False
        whole = session.get(url, timeout=10).content
        faults({f"{name}/config.json": {"corrupt": 1, "times": 1}})
        assert session.get(url, timeout=10).content not in (b"", whole)
        assert session.get(url, timeout=10).content == whole
        faults({f"{name}/config.json": {"cut": 10, "times": 1}})
        with pytest.raises(requests.exceptions.RequestException):
            session.get(url, timeout=10)
        faults({f"{name}/config.json": {"status": 503, "times": 1}})
        assert session.get(url, timeout=10).status_code == 503
        faults({"token": "sesame"})
        assert session.get(url, timeout=10).status_code == 401
        assert session.get(url, headers={"Authorization": "Bearer sesame"}, timeout=10).content == whole
    assert len(services.hub_log()) == 2


def test_a_reboot_starts_the_host_again_under_a_new_boot_id_and_keeps_its_disk() -> None:
    before = boot_id(H2)
    with contextlib.suppress(LabError):  # the shell that asks goes down with the rest
        lab.run(H2, "touch /kept /run/lost; systemctl reboot")
    wait_for(lambda: boot_id(H2) not in ("", before))
    hosts.wait_up(H2)

    assert lab.run(H2, "ls -d /kept /run/lost 2>/dev/null || :").split() == ["/kept"]
    assert len(inits(H2)) == 1


def test_a_host_that_loses_its_power_comes_back_as_after_one() -> None:
    before = boot_id(H2)
    lab.kill(H2)
    wait_for(lambda: boot_id(H2) not in ("", before))
    hosts.wait_up(H2)

    assert len(inits(H2)) == 1


def test_a_host_that_is_switched_off_leaves_nothing_running_and_can_be_switched_on() -> None:
    hosts.power_off(H3, orderly=False)
    wait_for(lambda: network.processes(H3.namespace) == [], 10)
    assert not hosts.running(H3)
    hosts.start(H3)
    hosts.wait_up(H3)

    assert len(inits(H3)) == 1


def test_a_cable_that_is_pulled_cuts_one_host_off(told: dict[str, Any]) -> None:
    network.cut(H2)
    try:
        with pytest.raises(LabError, match="didn't come up"):
            hosts.wait_up(H2, seconds=2)
        assert ssh(H1, told, "echo here") == "here\n"
    finally:
        network.restore(H2)
    hosts.wait_up(H2)


def test_services_stop_and_start_by_their_names() -> None:
    services.stop("registry")
    assert not services.running("registry")
    services.start("registry")

    assert services.running("registry")


def test_what_is_up_already_stays_as_it_is() -> None:
    before = [boot_id(host) for host in HOSTS]
    said: list[str] = []
    lab.up(said.append)

    assert [boot_id(host) for host in HOSTS] == before
    assert any("already" in line for line in said)


def test_what_a_crash_leaves_behind_never_breaks_the_next_lab() -> None:
    supervisor = int((H1.place / "supervisor.pid").read_text())
    nspawn = int((H1.place / "nspawn.pid").read_text())
    registry = int((machine.work() / "services" / "registry.pid").read_text().split()[0])
    # h1's init is left without anybody who knows of it; its disk, network and cgroup are still held by it.
    for pid in (supervisor, nspawn, registry):
        os.kill(pid, signal.SIGKILL)
    (H1.place / "nspawn.pid").unlink()
    orphans = set(inits(H1))
    assert orphans
    assert not lab.status()["up"]

    assert lab.up(lambda text: None)["up"]
    assert len(inits(H1)) == 1
    assert not orphans & set(inits(H1))


def test_down_takes_everything_away_and_a_second_time_is_nothing() -> None:
    for _ in range(2):
        lab.down(lambda text: None)
        mounts = Path("/proc/self/mounts").read_text()
        assert not any(str(host.place) in mounts for host in HOSTS)
        assert not [host for host in HOSTS if network.processes(host.namespace) or host.place.exists()]
        assert not list(Path("/sys/fs/cgroup").glob(f"**/{H1.namespace}"))
        assert lab.status()["up"] is False
    assert lab.up(lambda text: None)["up"]
