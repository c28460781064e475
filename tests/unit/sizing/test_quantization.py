"""How weights are stored, read from the config; bytes of a packed matrix."""

import pytest

from fleet.errors import CatalogError
from fleet.sizing.quantization import Quantization, at_load, read_quantization

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["visual"]}
W8A8 = {
    "quant_method": "compressed-tensors",
    "ignore": ["lm_head"],
    "config_groups": {"group_0": {"weights": {"num_bits": 8, "strategy": "channel", "symmetric": True}}},
}


def test_a_config_without_it_is_unquantised() -> None:
    assert read_quantization({}) is None


def test_awq_packs_eight_weights_a_word_with_scales_and_zeros_by_group() -> None:
    awq = read_quantization({"quantization_config": AWQ})
    assert awq is not None
    assert awq.pieces(256, 64) == (256 * 64 // 2, 2 * 2 * 64, 2 * 64 // 2)
    assert awq.ignores("vision")
    assert not awq.ignores("mlp")


def test_int8_channels_have_one_scale_each() -> None:
    found = read_quantization({"quantization_config": W8A8})
    assert found is not None
    assert found.pieces(256, 64) == (256 * 64, 4 * 64)


def test_block_fp8_has_a_scale_a_block() -> None:
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    found = read_quantization(config)
    assert found is not None
    assert found.pieces(256, 256) == (256 * 256, 4 * 4)


def test_double_quantised_bitsandbytes_costs_less_than_plain() -> None:
    plain = read_quantization({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}})
    double = Quantization("bitsandbytes", 4, 64, double=True)
    assert plain is not None
    assert sum(double.pieces(4096, 4096)) < sum(plain.pieces(4096, 4096))


def test_text_config_may_hold_it() -> None:
    assert read_quantization({"text_config": {"quantization_config": AWQ}}) is not None


def test_only_some_methods_quantise_while_loading() -> None:
    assert at_load("fp8") is not None
    assert at_load("awq") is None


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": "no-such-method"},
        {"quant_method": "awq", "bits": "four"},
        {"quant_method": "compressed-tensors", "config_groups": {}},
        "awq",
    ],
)
def test_what_can_not_be_read_is_an_error_that_says_so(config: object) -> None:
    with pytest.raises(CatalogError):
        read_quantization({"quantization_config": config})
