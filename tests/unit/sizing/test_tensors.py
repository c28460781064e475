"""Parameters are counted from the shapes; what one GPU holds is what vLLM gives it."""

import pytest

from fleet.sizing import catalog
from fleet.sizing.tensors import parameters, tensors

#: Published counts, and those of the hub's safetensors index.
COUNTS = {
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen2.5-VL-32B-Instruct": 33_452_718_336,
    "Qwen/Qwen2.5-VL-72B-Instruct": 73_410_777_344,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-72B-Instruct": 72_706_203_648,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "meta-llama/Llama-3.1-70B-Instruct": 70_553_706_496,
    "microsoft/phi-4": 14_659_507_200,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen2-VL-7B-Instruct": 8_291_375_616,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 46_702_792_704,
    "google/gemma-2-9b-it": 9_241_705_984,
}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameters_are_the_published_number(name: str, count: int) -> None:
    assert parameters(catalog.model(name)) == count


def test_a_split_holds_its_share_of_every_matrix() -> None:
    model = catalog.model("Qwen/Qwen2.5-7B-Instruct")
    whole = sum(t.parameters for t in tensors(model) if t.packable)
    half = sum(t.parameters for t in tensors(model, 2) if t.packable)
    assert half * 2 == whole


def test_kv_heads_are_repeated_where_there_are_fewer_than_gpus() -> None:
    model = catalog.model("Qwen/Qwen2.5-3B-Instruct")  # 2 KV heads
    (fused,) = [t.outputs for t in tensors(model, 4) if t.component == "attention" and t.inputs == 2048 and t.packable]
    assert fused == (4 + 2) * 128


def test_the_tower_can_be_left_out() -> None:
    model = catalog.model("Qwen/Qwen2.5-VL-7B-Instruct")
    assert not any(t.component == "vision" for t in tensors(model, vision=False))
