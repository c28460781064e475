"""A model is read from its config.json: shapes, not names; what is damaged or unknown is said, never guessed."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import CatalogError
from fleet.sizing import Request, catalog, gpu, size
from fleet.sizing.config import MAX_CONFIG_BYTES
from fleet.sizing.model import UnknownArchitecture, load_model, read_model

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
}


def test_shapes_are_what_the_file_says() -> None:
    model = read_model(LLAMA)
    assert (model.layers, model.kv_heads, model.head_dim, model.tied) == (32, 8, 128, False)


def test_grouped_heads_default_to_one_a_query() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    assert read_model(config).kv_heads == 32


def test_yarn_stretches_the_context_and_llama3_scaling_does_not() -> None:
    yarn = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}
    assert read_model(LLAMA | yarn).max_positions == 131072
    assert read_model(LLAMA | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}).max_positions == 8192


def test_a_tower_and_how_large_images_may_be_come_from_their_own_places() -> None:
    config = catalog.find("Qwen/Qwen2.5-VL-7B-Instruct").config
    vision = read_model(config, preprocessor={"max_pixels": 1003520}).vision
    assert vision is not None
    assert (vision.depth, vision.intermediate, vision.max_pixels) == (32, 3420, 1003520)


def test_a_nested_text_config_is_read() -> None:
    model = catalog.model("Qwen/Qwen3-VL-8B-Instruct")
    assert (model.layers, model.qk_norm, model.vision is not None) == (36, True, True)


def test_a_directory_is_read_with_its_preprocessor(tmp_path: Path) -> None:
    config = catalog.find("Qwen/Qwen2.5-VL-3B-Instruct").config
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text('{"max_pixels": 602112, "min_pixels": 3136}')
    found = load_model(tmp_path)
    assert found.vision is not None
    assert found.vision.max_pixels == 602112
    assert load_model(tmp_path / "config.json") == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_attention_heads": 30}, "doesn't divide"),
        ({"num_key_value_heads": 7}, "KV heads"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "4096"}, "hidden_size is '4096'"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"intermediate_size": True}, "intermediate_size"),
        ({"architectures": []}, "no architectures"),
        ({"quantization_config": {"quant_method": "magic"}}, "magic"),
    ],
)
def test_a_file_that_lies_or_lacks_is_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(CatalogError, match=words):
        read_model(LLAMA | change)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FAMILIES = [
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "Qwen/Qwen3-VL-8B-Instruct",
    "deepseek-ai/DeepSeek-V3",
    "OpenGVLab/InternVL3-8B",
]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), name=st.sampled_from(FAMILIES), value=junk)
def test_any_damage_ends_in_a_model_or_in_words(data: st.DataObject, name: str, value: object) -> None:
    config: dict[str, Any] = json.loads(json.dumps(catalog.find(name).config))
    places: list[dict[str, Any]] = [config, *(inner for inner in config.values() if isinstance(inner, dict))]
    place = data.draw(st.sampled_from(places))
    place[data.draw(st.sampled_from(sorted(place)))] = value
    with contextlib.suppress(CatalogError):  # in words; anything else would be a traceback for the user
        found = read_model(config)
        answer = size(Request(found, gpu("A10"), 1, "0.8.2", {"max-model-len": 4096}))
        assert answer.verdict in ("runs", "refused")


def test_an_unknown_architecture_is_said_to_be_one() -> None:
    with pytest.raises(UnknownArchitecture, match="FooForCausalLM"):
        read_model(LLAMA | {"architectures": ["FooForCausalLM"]})


@pytest.mark.parametrize("text", ['{"architectures": ["Llama', "[1, 2]", "\x00\x01", "[" * 100_000])
def test_a_cut_or_foreign_file_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(CatalogError) as caught:
        load_model(file)
    assert caught.value.where == str(file)
    assert caught.value.hint


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b" " * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(CatalogError, match="too much"):
        load_model(file)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="can't be read"):
        load_model(tmp_path / "nothing")
