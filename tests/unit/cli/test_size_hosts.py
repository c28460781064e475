"""``size --hosts``: what is asked of sizing for a host, from its facts and settings."""

from types import SimpleNamespace
from typing import Any

from fleet.cli.size_hosts import asked_of
from fleet.sizing import size

GPU = SimpleNamespace(name="NVIDIA A10", memory_mib=23028, compute_capability="8.6", driver="550.54.15")


def host(gpus: int = 4) -> Any:
    return SimpleNamespace(gpus=(GPU,) * gpus, memory_kib=256 << 20)


def told(*instances: Any) -> Any:
    return SimpleNamespace(image=SimpleNamespace(vllm="0.8.2", cuda="12.4"), instances=instances)


def instance(**other: Any) -> Any:
    plain = {
        "name": "vl",
        "model": "Qwen/Qwen2.5-VL-7B-Instruct",
        "gpus": "all",
        "args": {},
        "env": {},
        "auto": "throughput",
    }
    return SimpleNamespace(**(plain | other))


def test_an_instance_is_sized_for_its_own_gpus_as_one_server() -> None:
    ((name, request),) = asked_of(told(instance(gpus=(0, 1))), host(), "", None, "throughput")
    answer = size(request)
    assert (name, request.count, request.host_memory_gib, request.driver) == ("vl", 2, 256.0, "550.54.15")
    assert (answer.verdict, answer.instances, answer.args["tensor-parallel-size"]) == ("runs", 1, 2)


def test_what_the_instance_says_is_kept() -> None:
    ((_, request),) = asked_of(told(instance(args={"max-model-len": 4096}, gpus=1)), host(), "", None, "throughput")
    assert size(request).args["max-model-len"] == 4096


def test_a_named_model_is_sized_for_all_gpus_of_the_host() -> None:
    ((name, request),) = asked_of(told(), host(), "Qwen/Qwen3-8B", "--max-model-len 8192", "latency")
    assert (name, request.count, request.args) == ("Qwen/Qwen3-8B", 4, {"max-model-len": "8192"})


def test_a_host_without_gpus_is_asked_nothing() -> None:
    assert list(asked_of(told(instance()), host(0), "", None, "throughput")) == []
