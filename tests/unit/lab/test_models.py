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


def test_what_it_answers_are_words_alone_since_half_a_character_has_no_text(model: Path) -> None:
    shard = model / "model-00002-of-00002.safetensors"
    tensors, following = header(shard)
    content = shard.read_bytes()
    start, end = (len(content) - following + at for at in tensors["lm_head.weight"]["data_offsets"])
    vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    words = {n for text, n in vocabulary.items() if text.startswith("Ġw")}
    width = (end - start) // 1024

    scored = {n for n in range(1024) if any(content[start + n * width : start + (n + 1) * width])}

    assert scored == words


def test_models_that_an_older_lab_wrote_are_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_LAB_DIR", str(tmp_path))
    stale = tmp_path / "models" / "0123456789abcdef" / models.NAMES[0]
    stale.mkdir(parents=True)

    models.make("stand-in", lambda _: None)
    said: list[str] = []
    models.make("stand-in", said.append)

    assert not stale.exists()
    assert [(models.place() / name / "config.json").exists() for name in models.NAMES] == [True] * 3
    assert said == []


def test_any_user_may_read_the_files(model: Path) -> None:
    assert {oct(path.stat().st_mode & 0o777) for path in model.iterdir()} == {"0o644"}
