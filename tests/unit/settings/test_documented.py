"""docs/settings.md names every key that a host may be told, with the default that it has; its examples are good."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from fleet.settings import RESERVED, HostSettings, settings_of
from tests.unit.settings.test_check import Told

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "settings.md").read_text()
SECTIONS = {part.partition("`\n")[0]: part for part in TEXT.split("\n## `")[1:]}
#: What a model wants beside the key in question.
NEEDED: dict[str, dict[str, Any]] = {
    "instances": {"name": "a", "model": "m"},
    "image": {"vllm": "0.8.2", "cuda": "12.4"},
    "hooks": {"run": "x"},
    "hooks.body": {"run": None, "url": "https://example.com"},
}


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


def keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[type[BaseModel], str, str]]:
    """(the model, the key's name, its path as the document writes it)."""
    for name, field in model.model_fields.items():
        yield model, name, f"{path}{name}"
        for inner in models(field.annotation):
            yield from keys(inner, f"{path}{name}.")


KEYS = [
    (variable, *key)
    for variable in RESERVED
    for model in models(HostSettings.model_fields[variable].annotation)
    for key in keys(model)
]


def rows(variable: str) -> dict[str, str]:
    """Key → what the document has in its default's column."""
    found = re.findall(r"^\| `([a-z_.]+)` \| [^|]* \| ([^|]*) \|", SECTIONS[variable], re.M)
    return {key: default.strip() for key, default in found}


def test_every_variable_has_its_section() -> None:
    assert sorted(SECTIONS) == sorted(RESERVED)


@pytest.mark.parametrize(
    ("variable", "model", "name", "path"), KEYS, ids=lambda one: one if isinstance(one, str) else ""
)
def test_every_key_is_described_with_its_default(variable: str, model: type[BaseModel], name: str, path: str) -> None:
    said, field = rows(variable)[path], model.model_fields[name]
    literal = re.fullmatch(r"`([^`]+)`", said)
    if literal is None:  # words: for what is worked out, looked up, or nothing at all
        assert (said == "required") == field.is_required()
        assert field.is_required() or not field.get_default(call_default_factory=True)
        return
    given = {**NEEDED.get(variable, {}), **NEEDED.get(f"{variable}.{name}", {}), name: yaml.safe_load(literal[1])}
    assert getattr(model.model_validate(given), name) == field.default


@pytest.mark.parametrize("variable", RESERVED)
def test_no_key_is_described_that_there_isn_t(variable: str) -> None:
    assert set(rows(variable)) == {path for own, _, _, path in KEYS if own == variable}


def test_its_examples_are_good() -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S)
    assert len(examples) == 3
    for example in examples:
        settings_of(Told(yaml.safe_load(example)))
