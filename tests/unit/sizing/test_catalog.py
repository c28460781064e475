"""Models by name: with or without organisation, in any case; the nearest names for a wrong one."""

import pytest

from fleet.errors import CatalogError
from fleet.sizing import catalog


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL-7B-Instruct", "qwen/qwen2.5-vl-7b-instruct"]
)
def test_a_model_is_found_by_any_spelling_of_its_name(name: str) -> None:
    assert catalog.find(name).name == "Qwen/Qwen2.5-VL-7B-Instruct"


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(CatalogError) as caught:
        catalog.find("Qwen/Qwen2.5-VL-8B-Instruct")
    assert "Qwen2.5-VL-7B-Instruct" in caught.value.hint


def test_every_row_is_a_model_that_can_be_read() -> None:
    assert all(catalog.model(name).layers > 0 for name in catalog.names())


def test_base_and_instruct_are_both_there() -> None:
    assert {"Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct"} <= set(catalog.names())
    assert catalog.find("meta-llama/Llama-3.1-8B-Instruct").name == "meta-llama/Llama-3.1-8B"


def test_the_72b_awq_is_there_in_both_states() -> None:
    padded, first = (catalog.model(f"Qwen/Qwen2.5-VL-72B-Instruct-AWQ{state}") for state in ("", "@2025-02"))
    assert (padded.intermediate, first.intermediate) == (29696, 29568)
