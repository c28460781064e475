from __future__ import annotations

import pytest

from fleet.resources import DerivedImage, Image
from fleet.secret import Secret
from roles import vllm_image
from tests.targets import DIGEST, target


def test_the_image_is_pulled_by_its_locked_digest() -> None:
    (image,) = vllm_image.resources(target())
    assert isinstance(image, Image)
    assert image.digest == DIGEST
    assert image.candidates == ("egs-registry.cn-hangzhou.cr.aliyuncs.com/egs/vllm",)
    assert vllm_image.image_name(target()) == image.name


def test_a_mirror_of_its_registry_is_asked_first_and_the_login_is_the_registrys() -> None:
    image = {
        "ref": "vllm/vllm-openai:v0.8.2",
        "cuda": "12.4",
        "login": {"username": "me", "password": Secret("p4ss")},
        "fallbacks": ("b.example:5000",),
    }
    (pulled,) = vllm_image.resources(target(image=image, mirrors={"registries": {"docker.io": "m.example"}}))
    assert isinstance(pulled, Image)
    assert pulled.candidates[0] == "m.example/vllm/vllm-openai"
    assert pulled.candidates[-1] == "b.example:5000/vllm/vllm-openai"
    assert pulled.login
    assert pulled.login[0] == "docker.io"


def test_more_packages_make_a_derived_image_that_instances_run() -> None:
    told = target(image={"extra_pip": ("qwen-vl-utils[decord]",)}, proxy={"https": "http://proxy:3128"})
    pulled, derived = vllm_image.resources(told)
    assert isinstance(pulled, Image)
    assert isinstance(derived, DerivedImage)
    assert derived.dockerfile.startswith(f"FROM {pulled.name}\n")
    assert "https_proxy=http://proxy:3128" in derived.arguments
    assert vllm_image.image_name(told) == derived.name


@pytest.mark.parametrize(
    ("cuda", "driver", "loaded", "level"),
    [
        ("12.4", {}, "525.60", None),
        ("12.4", {}, "", None),
        ("12.4", {"manage": False}, "470.1", "error"),
        ("12.4", {"manage": True}, "470.1", "warning"),
        ("13.0", {"manage": False}, "570.1", "error"),
        ("13.0", {"branch": 580}, "570.1", None),
        ("13.0", {"branch": 570}, "580.1", "error"),
        ("13.0", {"version": "570.86.15"}, "", "error"),
    ],
)
def test_cuda_wants_a_driver_that_runs_it(cuda: str, driver: dict[str, object], loaded: str, level: str | None) -> None:
    told = target(image={"vllm": "0.9.0", "cuda": cuda}, driver=driver, known={"driver_loaded": loaded})
    found = [problem.level for problem in vllm_image.problems(told)]
    assert found == ([level] if level else [])
