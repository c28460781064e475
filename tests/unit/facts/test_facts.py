"""The facts script on the shells that hosts have, with programs that answer as real ones do, and its reader."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fleet import facts
from fleet.facts import Facts, read
from fleet.shell import PREAMBLE
from fleet.transport.local import LocalTransport

SMI = """case "$*" in
*--query-gpu=*) for n in 0 1; do
  echo "$n, GPU-aa$n, NVIDIA H100 80GB HBM3, 00000000:0$n:00.0, 81559, 4, 580.159.04, 9.0, Disabled"; done;;
*--query-compute-apps=*) echo "4242, GPU-aa0, /usr/bin/python3, --odd, name, 1500"; echo "[N/A], GPU-aa1, x, [N/A]";;
esac"""
DOCKER = """case "$1" in
--version) echo 'Docker version 26.1.5, build 1';;
info) echo '26.1.5|systemd|/srv/docker|true|{"nvidia":{"path":"n"},"runc":{}}';;
ps) echo 'fleet-a|running|vllm:1|a|f00d'; echo 'other|exited|redis:7||beef';;
esac"""
LSPCI = """cat <<'E'
0000:00:02.0 VGA compatible controller [0300]: Cirrus Logic GD 5446 [1013:00b8]
0000:00:06.0 3D controller [0302]: NVIDIA Corporation GA100 [A100 PCIe] [10de:20b0] (rev a1)
0000:00:07.0 Bridge [0680]: NVIDIA Corporation NVSwitch [10de:22a3] (rev a1)
0000:00:08.0 Audio device [0403]: NVIDIA Corporation [10de:10f0]
E"""
SYSTEMCTL = """case "$*" in
"--version") echo 'systemd 252 (252.39)';;
"is-system-running") echo degraded; exit 1;;
*list-units*) echo 'fleet-job-pull.service loaded active running pull'; echo 'fleet-a.service loaded failed failed a';;
*"fleet-job-pull.service"*) echo active;;
*) echo failed;;
esac"""


def ask(path: Path, shell: tuple[str, ...], **programs: str) -> Facts:
    for name, text in programs.items():
        program = path / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    script = facts.SCRIPT.replace(PREAMBLE, f"{PREAMBLE}; PATH={path}:$PATH", 1)
    reply = LocalTransport(shell=shell).run(script)
    assert reply.ok, reply.stderr
    return read(reply.stdout)


@pytest.fixture(params=[("dash",), ("bash", "--posix"), ("busybox", "sh")], ids=" ".join)
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    words: tuple[str, ...] = request.param
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} isn't installed here")
    return words


@pytest.mark.parametrize(
    ("enforce", "bool_", "confined"),
    [("Enforcing", "off", True), ("Enforcing", "on", False), ("Permissive", "off", False)],
)
def test_selinux_that_keeps_haproxy_from_its_ports_is_seen(
    tmp_path: Path, shell: tuple[str, ...], enforce: str, bool_: str, confined: bool
) -> None:
    sebool = f"echo 'haproxy_connect_any --> {bool_}'"
    assert ask(tmp_path, shell, getenforce=f"echo {enforce}", getsebool=sebool).haproxy_confined is confined


def test_a_host_with_gpus_is_read_whole(tmp_path: Path, shell: tuple[str, ...]) -> None:
    seen = ask(tmp_path, shell, nvidia_smi=SMI, docker=DOCKER, lspci=LSPCI, systemctl=SYSTEMCTL)
    assert [(g.index, g.uuid, g.name, g.memory_mib, g.compute_capability) for g in seen.gpus] == [
        (0, "GPU-aa0", "NVIDIA H100 80GB HBM3", 81559, "9.0"),
        (1, "GPU-aa1", "NVIDIA H100 80GB HBM3", 81559, "9.0"),
    ]
    assert seen.driver_loaded == "580.159.04"
    assert [(p.pid, p.name, p.used_mib) for p in seen.gpu_processes] == [(4242, "/usr/bin/python3, --odd, name", 1500)]
    assert (seen.docker_version, seen.docker_root, seen.live_restore) == ("26.1.5", "/srv/docker", True)
    assert seen.runtimes == ("nvidia", "runc")
    assert seen.serving == ("a",)
    assert [(p.device, p.is_nvswitch, p.open_modules) for p in seen.pci_gpus] == [
        (0x20B0, False, True),
        (0x22A3, True, True),
    ]
    assert seen.jobs == ("fleet-job-pull.service",)
    assert seen.units["fleet-a.service"] == "failed"
    assert seen.systemd == 252
    assert seen.cpus >= 1
    assert seen.memory_kib > 100_000
    assert seen.free_kib("/var/lib/x") > 0
    assert len(seen.boot_id) == 36


def test_programs_that_fail_are_told_in_their_own_words(tmp_path: Path, shell: tuple[str, ...]) -> None:
    seen = ask(
        tmp_path,
        shell,
        nvidia_smi='echo "NVIDIA-SMI has failed because it couldn\'t communicate with the driver."; exit 9',
        docker="echo 'permission denied while connecting'; echo 'second line'; exit 1",
        systemctl="exit 1",
    )
    assert seen.smi
    assert "couldn't communicate" in seen.smi_error
    assert seen.docker_error == "permission denied while connecting second line"
    assert (seen.gpus, seen.docker_version, seen.units) == ((), "", {})


def test_an_answer_that_was_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="cut off"):
        read("facts_version=1\nos_id=debian\n")


def test_nonsense_leaves_things_empty_and_never_breaks() -> None:
    noise = "gpu+=garbage\npci+=x\ndisk+=1\nport+=\napp+=1,2\ncontainer+=a\ndocker=|\ngpus_remembered=[1]\ncpus=many\n"
    seen = read(noise + "no line of ours\nunit+=\naddress+=x\nfacts_end=yes")
    assert (seen.gpus, seen.pci_gpus, seen.disks, seen.containers, seen.remembered_gpus) == ((), (), (), (), {})


def test_ports_are_read_from_the_kernel_where_ss_is_missing() -> None:
    seen = read("tcp+=0100007F:1F40\ntcp+=00000000:0016\ntcp+=" + "0" * 32 + ":0050\nfacts_end=yes")
    assert [(x.address, x.port) for x in seen.listeners] == [("127.0.0.1", 8000), ("0.0.0.0", 22), ("::", 80)]


def test_a_form_feed_in_a_name_ends_no_line() -> None:
    assert read("hostname=a\x0cuid=0\x0cfacts_end=yes\nfacts_end=yes").hostname.startswith("a\x0cuid")
