"""The tiny models: what clients and servers check of the real ones holds for them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from fleet.lab import models


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    models.write(place, seed=1)
    return place


def header(shard: Path) -> tuple[dict[str, dict[str, list[int]]], int]:
    """A safetensors file's header without its metadata, and how many bytes must follow it."""
    content = shard.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    tensors = json.loads(content[8 : 8 + length])
    tensors.pop("__metadata__")
    return tensors, len(content) - 8 - length


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(model: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        models.write(tmp_path / str(seed), seed)
    shard = "model-00001-of-00002.safetensors"

    assert (tmp_path / "1" / shard).read_bytes() == (model / shard).read_bytes()
    assert (tmp_path / "2" / shard).read_bytes() != (model / shard).read_bytes()


def test_tensors_lie_in_a_shard_one_after_another_to_its_end(model: Path) -> None:
    for shard in model.glob("*.safetensors"):
        tensors, following = header(shard)
        spans = sorted(tensor["data_offsets"] for tensor in tensors.values())

        assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
        assert spans[-1][1] == following


def test_the_index_names_every_tensor_in_the_shard_that_has_it(model: Path) -> None:
    index = json.loads((model / "model.safetensors.index.json").read_text())
    found = {name: shard.name for shard in model.glob("*.safetensors") for name in header(shard)[0]}

    assert index["weight_map"] == found
    assert len(set(found.values())) == 2


def test_the_tokenizer_has_a_text_for_every_id_that_the_model_may_sample(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    ids = set(tokenizer["model"]["vocab"].values()) | {token["id"] for token in tokenizer["added_tokens"]}

    assert ids == set(range(json.loads((model / "config.json").read_text())["vocab_size"]))


def test_any_user_may_read_the_files(model: Path) -> None:
    assert {oct(path.stat().st_mode & 0o777) for path in model.iterdir()} == {"0o644"}
