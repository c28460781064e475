from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleet.facts import Container, GpuProcess, Listener
from fleet.resource import Pending
from fleet.resources import Current, File, Release, Removed, Serving
from fleet.secret import Secret
from fleet.target import Target
from roles import vllm_service
from tests.targets import DIGEST, MANIFEST, MODEL, gpu, instance, target


def _release(told: Target, name: str = "qwen") -> Release:
    (found,) = [r for r in vllm_service.resources(told) if isinstance(r, Release) and r.instance == name]
    return found


def _unit(told: Target, name: str = "qwen") -> str:
    release = _release(told, name)
    return release.content(release.unit)


def _words(told: Target) -> list[str]:
    return [problem.words for problem in vllm_service.problems(told)]


def test_an_instance_is_a_release_a_switch_and_a_service_in_this_order() -> None:
    found = list(vllm_service.resources(target()))
    assert [r.id for r in found] == [
        "file:/var/lib/fleet/gpus.json", "release:qwen", "current:qwen", "serving:qwen"
    ]  # fmt: skip
    assert [type(r) for r in found] == [File, Release, Current, Serving]


def test_before_driver_and_docker_the_same_are_pending_and_no_problem() -> None:
    for known in ({"gpus": ()}, {"docker_version": ""}):
        told = target(known=known)
        found = list(vllm_service.resources(told))
        assert [r.id for r in found] == [r.id for r in vllm_service.resources(target())]
        assert all(isinstance(r, Pending) for r in found)
        assert _words(told) == []


def test_the_container_has_its_own_gpus_no_privileges_and_the_model_read_only() -> None:
    unit = _unit(target())
    path = f"/srv/models/Qwen--Qwen2.5-VL-7B-Instruct/rev-{MANIFEST.content_id[:12]}"
    release = _release(target()).release
    for line in (
        "  --device=nvidia.com/gpu=0 \\",
        "  --device=nvidia.com/gpu=1 \\",
        "  --init \\",
        "  --network=host \\",
        "  --ipc=host \\",
        "  --log-opt=max-size=50m \\",
        "  --label=fleet.instance=qwen \\",
        f"  --label=fleet.release={release} \\",
        f"  --mount=type=bind,src={path},dst=/models/{MODEL},readonly \\",
        f"  --entrypoint=vllm fleet.local/vllm:abababababababab serve /models/{MODEL} \\",
        "  --host 127.0.0.1 \\",
        "  --tensor-parallel-size 2",
        "Restart=always",
        "X-Fleet-Instance=qwen",
        f"X-Fleet-Image={DIGEST}",
    ):
        assert line in unit.splitlines()
    assert "privileged" not in unit


def test_docker_kills_before_systemd_does() -> None:
    lines = dict(line.split("=", 1) for line in _unit(target()).splitlines() if "=" in line and line[0].isupper())
    assert int(lines["TimeoutStopSec"]) > int(lines["ExecStop"].split("--time=")[1].split()[0])


@pytest.mark.parametrize(
    ("version", "told", "words"),
    [
        ("20.10.24", "auto", r'"--gpus=\"device=GPU-0,GPU-1\""'),
        ("26.1.5", "hook", r'"--gpus=\"device=GPU-0,GPU-1\""'),
        ("24.0.7", "cdi", "--device=nvidia.com/gpu=1"),
    ],
)
def test_gpus_are_given_by_what_this_docker_knows(version: str, told: str, words: str) -> None:
    assert words in _unit(target(known={"docker_version": version}, runtime={"gpu_access": told}))


def test_a_secret_is_in_the_environment_file_and_nowhere_else() -> None:
    release = _release(
        target(instance(api_key="s3cret-key", env={"HF_TOKEN": Secret("hf-t0ken"), "NCCL_ALGO": "Ring"}))
    )
    assert "VLLM_API_KEY=s3cret-key\n" in release.env.reveal()
    assert "HF_TOKEN=hf-t0ken\n" in release.env.reveal()
    assert "NCCL_ALGO=Ring\n" in release.env.reveal()
    assert not any("s3cret" in release.content(name) or "hf-t0ken" in release.content(name) for name in release.files)


def test_the_environment_keeps_the_server_offline_and_its_caches_apart_by_image_and_arguments() -> None:
    assert "HF_HUB_OFFLINE=1\n" in _release(target()).env.reveal()

    def cache(told: Target) -> str:
        return next(line for line in _unit(told).splitlines() if ":/cache" in line)

    assert cache(target()) == cache(target(instance(env={"A": 1})))
    assert cache(target()) != cache(target(instance(args={"max-model-len": 4096})))


def test_what_changes_the_start_changes_the_release_and_nothing_else_does() -> None:
    base = _release(target()).release
    assert _release(target(site="elsewhere")).release == base
    for other in (
        target(instance(args={"max-model-len": 1})),
        target(instance(env={"A": "1"})),
        target(instance(api_key="k3yk3y")),
        target(instance(port=8001)),
        target(instance(gpus=1)),
        target(image={"digest": "sha256:" + "0" * 64}),
    ):
        assert _release(other).release != base


def test_half_precision_where_the_gpus_know_no_bfloat16_unless_said() -> None:
    t4 = {"gpus": (gpu(0, "Tesla T4", "7.5"),)}
    assert "--dtype half" in _unit(target(known=t4))
    assert "--dtype float32" in _unit(target(instance(args={"dtype": "float32"}), known=t4))
    assert "tensor-parallel" not in _unit(target(known=t4))


def test_an_image_without_serve_takes_the_model_by_its_option() -> None:
    entry = ("python3", "-m", "vllm.entrypoints.openai.api_server")
    lines = [line.strip(" \\") for line in _unit(target(image={"entrypoint": entry})).splitlines()]
    start = lines.index("--entrypoint=python3 fleet.local/vllm:abababababababab")
    assert lines[start + 1 : start + 3] == ["-m vllm.entrypoints.openai.api_server", f"--model /models/{MODEL}"]


def test_instances_keep_their_gpus_and_the_host_remembers_by_uuid() -> None:
    told = target(
        instance("a", 8000, gpus=1), instance("b", 8001, gpus=1), known={"remembered_gpus": {"b": ("GPU-0",)}}
    )
    (remembered,) = [r for r in vllm_service.resources(told) if isinstance(r, File)]
    assert json.loads(str(remembered.content)) == {"a": ["GPU-1"], "b": ["GPU-0"]}
    assert "nvidia.com/gpu=0" in _unit(told, "b")


def test_an_instance_that_left_goes_first_and_who_gets_its_gpus_waits_for_it() -> None:
    known = {"instances": ("old", "qwen"), "remembered_gpus": {"old": ("GPU-1",)}}
    found = list(vllm_service.resources(target(known=known)))
    assert found[0] == Removed("old")
    (current,) = [r for r in found if isinstance(r, Current)]
    assert current.behind == ("old",)
    assert isinstance(found[1], File)
    assert json.loads(str(found[1].content))["old"] == ["GPU-1"]


@pytest.mark.parametrize(
    ("version", "cgroups", "harms"),
    [("24.0", "systemd", True), ("24.0", "cgroupfs", False), ("26.1", "systemd", False)],
)
def test_a_reload_is_feared_with_the_hook_and_systemds_cgroups_only(version: str, cgroups: str, harms: bool) -> None:
    told = target(known={"docker_version": version, "cgroup_driver": cgroups})
    assert [r.reload_harms for r in vllm_service.resources(told) if isinstance(r, Current)] == [harms]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"gpus": 3}, "wants 3 GPUs"),
        ({"listen": "10.9.9.9"}, "listen on 10.9.9.9, which this host doesn't have"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_touched(more: dict[str, Any], words: str) -> None:
    (found,) = _words(target(instance(**more), known={"addresses": (("eth0", "10.0.0.5/24"),)}))
    assert words in found


def test_strangers_are_reported() -> None:
    told = target(
        known={
            "containers": (Container("fleet-qwen", "running", "nginx", "", "1"),),
            "listeners": (Listener("0.0.0.0", 8000, 'users:(("nginx",pid=7,fd=3))'), Listener("10.0.0.5", 8000, "")),
            "gpu_processes": (GpuProcess(7, "GPU-1", "python", 900),),
        }
    )
    found = list(vllm_service.problems(told))
    assert [(p.level, p.words) for p in found] == [
        ("error", "a container named fleet-qwen isn't ours (image nginx)"),
        ("error", "port 8000 of instance 'qwen' is held by nginx (process 7)"),
        ("warning", "process 7 (python) uses 900 MiB of GPU 1, which instance 'qwen' is to have"),
    ]


def test_an_instance_that_serves_is_no_stranger_to_itself() -> None:
    told = target(
        known={
            "containers": (Container("fleet-qwen", "running", "x", "qwen", "1"),),
            "listeners": (Listener("127.0.0.1", 8000, ""),),
            "gpu_processes": (GpuProcess(7, "GPU-1", "python", 900),),
        }
    )
    assert _words(told) == []


def test_the_scripts_are_sh_and_the_unit_is_well_formed(tmp_path: Path) -> None:
    release = _release(target(instance(args={"chat-template": "a 'b' %c $d \"e\""})))
    for name in ("before-start", "stay", "health"):
        (tmp_path / name).write_text(release.content(name))
        assert subprocess.run(["sh", "-n", tmp_path / name], check=False).returncode == 0
    text = release.content(release.unit).replace("/usr/bin/docker", "/bin/true")
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("ExecStartPre", "Wants")))
    (tmp_path / release.unit).write_text(text)
    if not Path("/usr/bin/systemd-analyze").exists():
        pytest.skip("systemd isn't installed")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / release.unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
