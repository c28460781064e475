"""``size --hosts``: what is asked of sizing for a host, from its facts and settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.cli import session
from fleet.cli.size_ask import Format
from fleet.cli.size_hosts import Asked, asked_of, on_hosts
from fleet.errors import FleetError, Unreachable
from fleet.facts import Facts
from fleet.settings import HostSettings
from fleet.sizing import Request, catalog, size
from fleet.transport import Transport
from tests.targets import MANIFEST, MODEL, facts, gpu, instance

A10 = tuple(gpu(n, "NVIDIA A10", "8.6", 23028) for n in range(4))
T4 = tuple(gpu(n, "Tesla T4", "7.5", 15360) for n in range(4, 8))


def host(*gpus: Any, **known: Any) -> Facts:
    return facts(gpus=gpus or A10, memory_kib=256 << 20, **known)


def told(*instances: dict[str, Any]) -> HostSettings:
    image = {"ref": "vllm/vllm-openai:v0.8.2", "cuda": "12.4"}
    return HostSettings.model_validate({"image": image, "instances": instances})


def requests(asked: list[Asked]) -> dict[str, Request]:
    return {name: request for name, request in asked if isinstance(request, Request)}


def test_an_instance_is_sized_for_its_own_gpus_as_one_server() -> None:
    (request,) = requests(list(asked_of(told(instance(gpus=[0, 1])), host(), "", None, "throughput"))).values()
    answer = size(request)
    assert (request.count, request.host_memory_gib, request.driver) == (2, 256.0, "580.95.05")
    assert (answer.verdict, answer.instances, answer.args["tensor-parallel-size"]) == ("runs", 1, 2)


def test_what_the_instance_says_is_kept() -> None:
    one = instance(args={"max-model-len": 4096}, gpus=1)
    (request,) = requests(list(asked_of(told(one), host(), "", None, "throughput"))).values()
    assert size(request).args["max-model-len"] == 4096


def test_a_named_model_is_sized_for_all_gpus_of_the_host() -> None:
    found = requests(list(asked_of(told(), host(), "Qwen/Qwen3-8B", "--max-model-len 8192", "latency")))
    (request,) = found.values()
    assert (list(found), request.count) == (["Qwen/Qwen3-8B"], 4)
    assert request.args == {"max-model-len": "8192"}


def test_a_host_without_gpus_is_asked_nothing() -> None:
    assert list(asked_of(told(instance()), facts(), "", None, "throughput")) == []


def test_each_kind_of_gpu_on_a_host_has_its_own_row() -> None:
    found = requests(list(asked_of(told(), host(*A10[:2], *T4), MODEL, None, "throughput")))
    assert {name: (request.gpu.name, request.count) for name, request in found.items()} == {
        f"{MODEL} on A10": ("A10", 2), f"{MODEL} on T4": ("T4", 4),
    }  # fmt: skip
    assert "dtype" not in size(found[f"{MODEL} on A10"]).args
    assert size(found[f"{MODEL} on T4"]).args["dtype"] == "half"


def test_each_instance_is_judged_on_the_kind_that_it_has() -> None:
    two = told(instance("a", gpus=[0, 1]), instance("b", 8001, gpus=[4, 5, 6, 7]))
    found = requests(list(asked_of(two, host(*A10[:2], *T4), "", None, "throughput")))
    assert {name: (request.gpu.name, request.count) for name, request in found.items()} == {
        "a": ("A10", 2),
        "b": ("T4", 4),
    }


def test_an_instance_across_kinds_is_judged_by_the_weaker() -> None:
    (request,) = requests(list(asked_of(told(instance()), host(A10[0], T4[0]), "", None, "throughput"))).values()
    assert (request.count, request.gpu.sm) == (2, 75)
    assert request.gpu.total_gib < 15


def test_counts_go_to_the_gpus_that_the_host_remembers() -> None:
    one = told(instance("b", gpus=2))
    known = host(*A10[:2], *T4, remembered_gpus={"b": ("GPU-4", "GPU-5")})
    (request,) = requests(list(asked_of(one, known, "", None, "throughput"))).values()
    assert request.gpu.name == "T4"


def test_an_instance_without_its_gpus_is_named_and_the_others_are_judged() -> None:
    found = dict(asked_of(told(instance("a", gpus=9), instance("b", 8001, gpus=1)), host(), "", None, "throughput"))
    assert isinstance(found["a"], FleetError)
    assert "wants 9 GPUs" in found["a"].message
    assert isinstance(found["b"], Request)


def test_a_model_that_was_looked_up_is_judged_by_its_own_config() -> None:
    config = {**catalog.find(MODEL).config, "num_hidden_layers": 4}
    locked = {(MODEL, "master"): replace(MANIFEST, texts={"config.json": json.dumps(config)})}
    (small,) = requests(list(asked_of(told(instance(gpus=1)), host(), "", None, "throughput", locked))).values()
    (named,) = requests(list(asked_of(told(instance(gpus=1)), host(), "", None, "throughput"))).values()
    assert (size(small).kv_bytes_per_token or 0) * 7 == size(named).kv_bytes_per_token


def test_a_host_that_is_down_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def connect(name: str) -> Transport:
        raise Unreachable("no connection", where=name, hint="is it up?")

    monkeypatch.setenv("FLEET_HOME", str(tmp_path / ".fleet"))
    monkeypatch.setattr(session, "connector", lambda *_: connect)
    (tmp_path / "hosts.yml").write_text("all: {hosts: {h1: {}}}\n")
    options = session.Options(inventory=(str(tmp_path / "hosts.yml"),))
    assert on_hosts(options, Format(), "", None, "throughput", explain=False) == 1
    assert "error: h1: no connection\n" in capsys.readouterr().err
