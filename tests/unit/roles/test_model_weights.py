from __future__ import annotations

from dataclasses import replace

from fleet.resources import Tools, Weights
from roles import model_weights, vllm_image
from tests.targets import MANIFEST, MODEL, gpu, instance, target


def test_the_client_comes_first_and_each_model_once() -> None:
    told = target(instance("a", 8000, gpus=1), instance("b", 8001, gpus=1))
    tools, weights = model_weights.resources(told)
    assert isinstance(tools, Tools)
    assert isinstance(weights, Weights)
    assert weights.path == f"/srv/models/Qwen--Qwen2.5-VL-7B-Instruct/rev-{MANIFEST.content_id[:12]}"
    assert (weights.image, weights.tools) == (vllm_image.image_name(told), tools.path)
    assert weights.endpoint == "https://modelscope.cn"


def test_of_two_revisions_one_is_current() -> None:
    told = target(instance("a", 8000, gpus=1), instance("b", 8001, gpus=1, revision="v2"))
    other = replace(MANIFEST, revision="v2", content_id="e" * 64)
    told = replace(told, manifests={**told.manifests, (MODEL, "v2"): other})
    _, first, second = model_weights.resources(told)
    assert isinstance(first, Weights)
    assert isinstance(second, Weights)
    assert (first.link, second.link) == (True, False)


def test_every_pinned_package_has_its_hashes() -> None:
    text = model_weights.REQUIREMENTS.read_text()
    pinned = [block for block in text.split("\n") if "==" in block]
    assert any(line.startswith("modelscope-hub==") for line in pinned)
    assert all(line.endswith("\\") for line in pinned)
    assert text.count("--hash=sha256:") > len(pinned)


def test_a_proxy_reaches_the_download() -> None:
    (_, weights) = model_weights.resources(target(proxy={"https": "http://proxy:3128"}))
    assert isinstance(weights, Weights)
    assert weights.reach.proxies == {"https_proxy": "http://proxy:3128", "no_proxy": "localhost,127.0.0.1,::1"}


def test_a_place_that_cannot_keep_models_is_refused() -> None:
    assert [p.level for p in model_weights.problems(target(weights={"root": "/tmp/models"}))] == ["error"]
    assert list(model_weights.problems(target())) == []


def test_a_model_that_was_not_looked_up_is_told() -> None:
    told = replace(target(known={"gpus": (gpu(0),)}), manifests={})
    assert [problem.words for problem in model_weights.problems(told)] == [f"the files of {MODEL}@master aren't known"]
    assert list(model_weights.resources(told)) == []
