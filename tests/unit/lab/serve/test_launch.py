"""The image's launcher: what a CPU can't do is taken out of the parsed arguments, and said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fleet.lab.serve import launch


def parsed(**given: Any) -> SimpleNamespace:
    """Arguments as vLLM's parser leaves them where nothing else is said."""
    defaults: dict[str, Any] = dict.fromkeys(launch.ON_A_CPU)
    defaults |= {"tensor_parallel_size": 1, "kv_cache_dtype": "auto", "dtype": "auto", "limit_mm_per_prompt": {}}
    defaults |= {"max_num_seqs": None, "max_num_batched_tokens": None, "enforce_eager": False}
    return SimpleNamespace(**(defaults | given))


def test_nothing_is_said_of_what_a_cpu_can_do() -> None:
    assert launch.adapt(parsed(max_model_len=8192)) == []


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({"tensor_parallel_size": 4}, {"tensor_parallel_size": 1}),
        ({"quantization": "awq"}, {"quantization": None}),
        ({"kv_cache_dtype": "fp8"}, {"kv_cache_dtype": "auto"}),
        ({"dtype": "half"}, {"dtype": "bfloat16"}),
    ],
)
def test_what_a_cpu_cannot_do_is_replaced_and_named(given: dict[str, Any], becomes: dict[str, Any]) -> None:
    arguments = parsed(**given)
    (said,) = launch.adapt(arguments)

    assert vars(arguments).items() >= becomes.items()
    assert next(iter(given)).replace("_", "-") in said


def test_limits_stay_small_and_what_is_asked_for_images_stands() -> None:
    arguments = parsed(max_num_seqs=256, max_num_batched_tokens=512, limit_mm_per_prompt={"image": 5})
    launch.adapt(arguments)

    assert (arguments.max_num_seqs, arguments.max_num_batched_tokens) == (launch.MAX_SEQUENCES, 512)
    assert arguments.limit_mm_per_prompt == {"image": 5, "video": 0}
    assert arguments.enforce_eager


def test_only_serve_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.main(["bench"]) == 2
    assert "bench" in capsys.readouterr().err
