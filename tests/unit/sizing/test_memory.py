"""One GPU's memory, beside what vLLM reported for it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.sizing import catalog, gpu
from fleet.sizing.activation import GIB, video_tokens
from fleet.sizing.memory import Memory, divide, kv_bytes_per_token
from fleet.sizing.settings import Arguments, resolve

H100 = replace(gpu("H100-80GB"), total_gib=85017493504 / GIB)


def _divided(model: str, version: str, kind: str = "H100-80GB", **args: Any) -> Memory:
    named = {name.replace("_", "-"): value for name, value in args.items()}
    card = H100 if kind == "H100-80GB" else gpu(kind)
    shapes = catalog.model(model)
    return divide(shapes, card, resolve(shapes, card, version, Arguments(named), {}))


@pytest.mark.parametrize(
    ("model", "each"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", 56 * 1024),
        ("Qwen/Qwen2.5-VL-72B-Instruct", 320 * 1024),
        ("Qwen/Qwen3-8B", 147_456),
        ("deepseek-ai/DeepSeek-V3", 61 * 576 * 2),
    ],
)
def test_a_token_costs_keys_and_values_of_every_layer(model: str, each: int) -> None:
    assert kv_bytes_per_token(catalog.model(model), 2) == each


def test_kv_memory_of_a_7b_is_what_0_24_printed() -> None:
    limits = {"image": 1, "video": 0}
    found = _divided(
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "0.24.0",
        gpu_memory_utilization=0.5,
        max_model_len=32768,
        limit_mm_per_prompt=limits,
        enforce_eager=True,
    )
    assert found.kv / GIB == pytest.approx(21.22, rel=0.005)
    assert found.kv_tokens == pytest.approx(397_392, rel=0.005)


def test_v0_profiles_the_whole_context_of_a_text_model() -> None:
    short, long = (
        _divided("meta-llama/Llama-3.1-8B", "0.8.2", "T4", dtype="half", max_model_len=n).peak.activation / GIB
        for n in (20000, 29000)
    )
    assert short == pytest.approx(2.07, rel=0.01)
    assert long == pytest.approx(2.99, rel=0.01)


def test_video_is_what_eats_the_memory_of_a_long_context() -> None:
    model = "Qwen/Qwen2.5-VL-7B-Instruct"
    with_video = _divided(model, "0.24.0", max_model_len=65536)
    without = _divided(model, "0.24.0", max_model_len=65536, limit_mm_per_prompt={"image": 1, "video": 0})
    assert with_video.peak.where == "vision"
    assert without.kv - with_video.kv > 4 * GIB


def test_an_image_has_at_most_16384_tokens_unless_pixels_are_capped() -> None:
    vision = catalog.model("Qwen/Qwen2.5-VL-7B-Instruct").vision
    assert vision is not None
    assert vision.image_tokens(vision.max_pixels) == 16384
    assert vision.image_tokens(1003520) == 35 * 35


def test_a_dummy_video_is_as_long_as_in_the_log_of_0_23() -> None:
    model = catalog.model("Qwen/Qwen2.5-VL-7B-Instruct")
    assert model.vision is not None
    settings = resolve(model, gpu("A100-80GB"), "0.23.0", Arguments({"max-model-len": 128000}), {})
    assert video_tokens(model.vision, settings) == 114_688


def test_graphs_are_charged_since_0_21_by_the_first_runner_only() -> None:
    args: dict[str, Any] = {"max_model_len": 8192}
    charged = _divided("Qwen/Qwen2.5-7B-Instruct", "0.24.0", **args)
    eager = _divided("Qwen/Qwen2.5-7B-Instruct", "0.24.0", enforce_eager=True, **args)
    assert eager.kv - charged.kv == charged.graphs
    second = [_divided("Qwen/Qwen3-8B", "0.24.0", enforce_eager=e, **args).kv for e in (True, False)]
    assert second[0] == second[1]


def test_offloading_takes_weights_off_the_gpu() -> None:
    plain, offloaded = (
        _divided("Qwen/Qwen3-8B", "0.24.0", max_model_len=8192, cpu_offload_gb=gib).weights.total for gib in (0, 4)
    )
    assert plain - offloaded == 4 * GIB


def test_a_fixed_kv_size_is_taken_at_its_word() -> None:
    assert _divided("Qwen/Qwen3-8B", "0.24.0", max_model_len=8192, kv_cache_memory_bytes=2 * GIB).kv == 2 * GIB


@settings(deadline=None)
@given(
    name=st.sampled_from(["Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen3-8B", "meta-llama/Llama-3.1-8B"]),
    version=st.sampled_from(["0.8.2", "0.24.0", "0.33.0"]),
    less=st.floats(0.3, 0.6),
    more=st.floats(0.6, 0.95),
    seqs=st.integers(1, 1024),
)
def test_a_larger_share_or_fewer_sequences_never_leave_less(
    name: str, version: str, less: float, more: float, seqs: int
) -> None:
    def kv(util: float, rows: int) -> int:
        return _divided(name, version, gpu_memory_utilization=util, max_model_len=8192, max_num_seqs=rows).kv

    assert kv(less, seqs) <= kv(more, seqs)
    assert kv(more, 1024) <= kv(more, seqs)
