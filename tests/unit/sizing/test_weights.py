"""Bytes of weights on one GPU, beside what vLLM reported."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.sizing import catalog
from fleet.sizing.model import Model
from fleet.sizing.quantization import at_load
from fleet.sizing.weights import MIB, allocated, weights

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "tp", "seen"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", 1, 15.67),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 4, 4.07),
        ("Qwen/Qwen2.5-VL-3B-Instruct", 1, 7.16),
        ("Qwen/Qwen2.5-7B-Instruct", 1, 14.29),
        ("meta-llama/Llama-3.1-8B", 1, 15.0),
    ],
)
def test_loaded_weights_are_within_a_percent_of_0_24(name: str, tp: int, seen: float) -> None:
    assert weights(catalog.model(name), tp=tp).total / GIB == pytest.approx(seen, rel=0.01)


@pytest.mark.parametrize(
    ("name", "tp", "seen"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", 1, 15.6271),
        ("Qwen/Qwen2-7B-Instruct", 2, 7.1217),
        ("meta-llama/Llama-3.1-8B", 1, 14.9888),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1, 3.3465),
    ],
)
def test_blocks_are_exact_for_0_8(name: str, tp: int, seen: float) -> None:
    assert weights(catalog.model(name), tp=tp, segments=False).total / GIB == pytest.approx(seen, rel=0.002)


def test_fp8_while_loading_halves_the_matrices() -> None:
    model = catalog.model("meta-llama/Llama-3.1-8B")
    assert weights(model, quantization=at_load("fp8")).total / GIB == pytest.approx(8.51, rel=0.005)


def test_without_the_tower_a_vision_model_weighs_less() -> None:
    model = catalog.model("Qwen/Qwen2.5-VL-7B-Instruct")
    assert weights(model, vision=False).total / GIB == pytest.approx(14.40, rel=0.005)


def test_a_stage_holds_its_layers_and_one_of_embedding_and_head() -> None:
    model = catalog.model("meta-llama/Llama-3.1-8B")
    assert weights(model, pp=2).total < 0.55 * weights(model).total


def test_float32_doubles() -> None:
    model = catalog.model("meta-llama/Llama-3.1-8B")
    assert weights(model, dtype="float32").total == pytest.approx(2 * weights(model).total, rel=0.01)


@settings(deadline=None)
@given(name=st.sampled_from(catalog.names()), tp=st.sampled_from([1, 2, 4]))
def test_more_gpus_never_hold_more_each(name: str, tp: int) -> None:
    model: Model = catalog.model(name)
    one, more = (weights(model, tp=n, quantization=model.quantization).total for n in (tp, 2 * tp))
    assert more <= one


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300 * MIB), st.integers(1, 80)), max_size=20))
def test_the_allocator_never_takes_less_than_was_asked_for(sizes: list[tuple[int, int]]) -> None:
    asked = sum(size * count for size, count in sizes)
    assert asked <= allocated(sizes, segments=False) <= allocated(sizes)
