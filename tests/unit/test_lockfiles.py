from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import LockFileError
from fleet.lockfiles import read_images, read_models, write_images, write_models
from fleet.registry import Found
from fleet.target import Manifest, ModelFile
from fleet.weights.hub import content_id

DIGEST = "sha256:" + "1" * 64
names = st.text(st.characters(codec="utf-8", exclude_characters="@"), min_size=1)
files = st.builds(ModelFile, names, st.integers(0, 10**12), st.text("0123456789abcdef", min_size=64, max_size=64))


def _manifest(*rows: ModelFile) -> Manifest:
    return Manifest("me/tiny", "master", "modelscope", content_id(rows), tuple(sorted(rows, key=lambda f: f.path)))


def test_nothing_is_known_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_images(tmp_path) == {}
    assert read_models(tmp_path) == {}


@given(st.lists(files, max_size=5, unique_by=lambda f: f.path))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[ModelFile]) -> None:
    path = tmp_path_factory.mktemp("lock")
    models = {("me/tiny", "master"): _manifest(*rows)}
    write_models(path, models)
    assert read_models(path) == models
    write_images(path, {"x:1": Found(DIGEST, 7)})
    assert read_images(path) == {"x:1": Found(DIGEST, 7)}


def test_a_file_of_a_model_is_one_line_so_that_a_review_sees_what_changed(tmp_path: Path) -> None:
    write_models(tmp_path, {("me/tiny", "master"): _manifest(ModelFile("config.json", 2, "a" * 64))})
    assert f'"config.json": "{"a" * 64} 2"' in (tmp_path / "models.lock").read_text()


def test_a_list_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    write_models(tmp_path, {("me/tiny", "master"): _manifest(ModelFile("config.json", 2, "a" * 64))})
    lock = tmp_path / "models.lock"
    lock.write_text(lock.read_text().replace("a" * 64, "b" * 64))
    with pytest.raises(LockFileError, match="don't match their content id"):
        read_models(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": {"x": {}}}', '{"images": {"x": {"digest": "md5:1"}}}'])
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "images.lock").write_text(text)
    with pytest.raises(LockFileError) as error:
        read_images(tmp_path)
    assert error.value.where.endswith("images.lock")
    assert (tmp_path / "images.lock").read_text() == text


def test_the_files_say_what_they_are_for(tmp_path: Path) -> None:
    write_images(tmp_path, {})
    assert "Commit" in json.loads((tmp_path / "images.lock").read_text())["about"]


def test_a_config_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    text = '{"intermediate_size": 29568}\n'
    row = ModelFile("config.json", len(text), hashlib.sha256(text.encode()).hexdigest())
    models = {("me/tiny", "master"): replace(_manifest(row), texts={"config.json": text})}
    write_models(tmp_path, models)
    assert read_models(tmp_path) == models
    lock = tmp_path / "models.lock"
    lock.write_text(lock.read_text().replace("29568", "29696"))
    with pytest.raises(LockFileError, match=r"config\.json of me/tiny doesn't match its hash"):
        read_models(tmp_path)
