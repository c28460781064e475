"""What an instance isn't told is chosen by sizing: completely, with reasons, the same each time, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from fleet.resource import Observation, Problem
from fleet.resources import Current, Release
from fleet.sizing import catalog
from fleet.target import Target
from roles import vllm_service
from tests.targets import MANIFEST, MODEL, gpu, instance, target

A10 = tuple(gpu(n, "NVIDIA A10", "8.6", 23028) for n in range(8))
T4 = tuple(gpu(n, "Tesla T4", "7.5", 15360) for n in range(8))
AWQ = "Qwen/Qwen2.5-VL-72B-Instruct-AWQ"


def host(gpus: Any, *instances: dict[str, Any], config: dict[str, Any] | None = None, **settings: Any) -> Target:
    """A host with ``gpus``; each instance's model is what ``config`` says, where one is given."""
    made = target(*instances, known={"gpus": gpus, "memory_kib": 500 << 20}, **settings)
    texts = {"config.json": json.dumps(config)} if config else {}
    manifests = {(one.model, one.revision): replace(MANIFEST, texts=texts) for one in made.settings.instances}
    return replace(made, manifests=manifests)


def release(told: Target) -> Release:
    (found,) = [resource for resource in vllm_service.resources(told) if isinstance(resource, Release)]
    return found


def args(told: Target) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(release(told).files["release.json"])["args"]
    return found


def refusals(told: Target) -> list[Problem]:
    return [problem for problem in vllm_service.problems(told) if problem.kind == "input"]


def config(model: str, **other: object) -> dict[str, Any]:
    return {**catalog.find(model).config, **other}


def test_what_vllm_gets_is_complete_and_the_plan_says_why() -> None:
    told = host(A10[:1])
    chosen = args(told)
    assert set(chosen) >= {"max-model-len", "max-num-seqs", "limit-mm-per-prompt"}
    change = release(told).diff(Observation(""))
    assert change is not None
    assert f"# max-model-len {chosen['max-model-len']}: " in change.diff
    for option in chosen:
        assert f"# {option} " in change.diff
        assert f"--{option}" in release(told).content(release(told).unit)


def test_what_the_instance_says_is_kept_and_not_explained() -> None:
    told = host(A10[:2], instance(args={"max_model_len": 4096, "tensor-parallel-size": 1}))
    assert (args(told)["max-model-len"], args(told)["tensor-parallel-size"]) == (4096, 1)
    change = release(told).diff(Observation(""))
    assert change is not None
    assert "# max-model-len" not in change.diff
    assert json.loads(release(told).files["release.json"])["chosen"] == ["max-num-seqs", "limit-mm-per-prompt"]


def test_what_comes_and_goes_on_a_host_makes_no_new_release() -> None:
    calm = host(A10[:2])
    busy = [replace(one, used_mib=9000, driver="580.95.06") for one in A10[:2]]
    other = replace(calm, facts=replace(calm.facts, gpus=tuple(busy), memory_kib=calm.facts.memory_kib - 4096))
    assert release(other).release == release(calm).release == release(host(A10[:2])).release


def test_words_of_reasons_are_no_part_of_the_release() -> None:
    made = release(host(A10[:2]))
    assert replace(made, notes=("other words",)).release == made.release


def test_another_choice_waits_for_a_rollout_where_the_instance_serves() -> None:
    new = release(host(A10[:2])).release
    change = Current("qwen", new).diff(Observation("current=000000000000\ngood=000000000000\nunit=same\nrunning=qwen"))
    assert change is not None
    assert change.interrupts == ("instance qwen",)


def test_a_model_that_nobody_knows_gets_all_gpus_and_a_word_about_it() -> None:
    told = host(T4[:2], instance(model="me/own"))
    assert args(told) == {"tensor-parallel-size": 2, "dtype": "half"}
    assert refusals(told) == []
    change = release(told).diff(Observation(""))
    assert change is not None
    assert "# ! not sized: no model 'me/own' in the catalog" in change.diff


@pytest.mark.parametrize("bad", [{"architectures": ["NobodysForCausalLM"]}, {"architectures": []}, {"a": 1}])
def test_a_config_that_sizing_does_not_understand_is_left_to_vllm(bad: dict[str, Any]) -> None:
    told = host(A10[:2], config=bad)
    assert args(told) == {"tensor-parallel-size": 2}
    assert refusals(told) == []


def test_a_model_of_no_catalog_is_judged_by_its_own_config() -> None:
    told = host(A10[:2], instance(model="me/own"), config=config(MODEL))
    assert args(told)["limit-mm-per-prompt"] == {"image": 4, "video": 0}


@pytest.mark.parametrize(
    ("intermediate", "runs"), [(29696, True), (29568, False)], ids=["padded", "as-first-published"]
)
def test_the_downloaded_config_decides_whether_the_72b_awq_divides(intermediate: int, runs: bool) -> None:
    told = host(T4, instance(model=AWQ), config=config(AWQ, intermediate_size=intermediate))
    asked = instance(model=AWQ, args={"tensor-parallel-size": 8})
    told_tp = host(T4, asked, config=config(AWQ, intermediate_size=intermediate))
    assert bool(refusals(told_tp)) is not runs
    if runs:
        assert args(told)["tensor-parallel-size"] == 8
    else:
        assert "3696 at tensor-parallel-size 8" in refusals(told_tp)[0].words


def test_what_sizing_refuses_is_wrong_input_with_what_runs_as_a_line_to_paste() -> None:
    """TP 3 on a model of 28 heads: vLLM would say so after a 16 GB download."""
    told = host(A10[:3], instance(args={"tensor-parallel-size": 3}))
    (problem,) = refusals(told)
    assert problem.level == "error"
    assert "instance 'qwen' can't run on 3×NVIDIA A10: 28 attention heads" in problem.words
    assert "[heads]" in problem.words
    line = problem.hint.removeprefix("what runs here: ").partition(";")[0]
    pasted = yaml.safe_load(line)["args"]
    assert refusals(host(A10[:3], instance(args=pasted))) == []


def test_where_nothing_runs_that_is_said() -> None:
    (problem,) = refusals(host(T4[:1], instance(model=AWQ)))
    assert problem.hint.startswith("nothing runs here")


def test_gpus_of_two_kinds_are_as_good_as_the_weaker() -> None:
    mixed = (A10[0], replace(T4[1], index=1))
    told = host(mixed)
    assert args(told)["dtype"] == "half"
    assert args(told)["tensor-parallel-size"] == 2
    assert args(told)["max-model-len"] <= args(host(T4[:2]))["max-model-len"]


def test_a_secret_of_the_environment_stays_out_of_what_is_said() -> None:
    told = host(A10[:1], instance(env={"HF_TOKEN": "hf-t0ken"}))
    assert not any("hf-t0ken" in note for note in release(told).notes)
