from __future__ import annotations

from typing import Any

import pytest

from fleet.errors import Findings, SettingsError
from fleet.secret import Secret
from fleet.settings import Instance, settings_of
from fleet.settings.arguments import findings


def _wrong(vllm: str = "0.8.2", **told: Any) -> list[tuple[str, str, str, str]]:
    return list(findings(vllm, Instance.model_validate({"name": "a", "model": "m", "gpus": 1, **told})))


@pytest.mark.parametrize(
    ("args", "words", "hint"),
    [
        ({"port": 1}, "is said by the instance's own `port`", "set port"),
        ({"served_model_name": "x"}, "own `served_name`", "set served_name"),
        ({"hf-overrides": Secret("x")}, "would be seen in `ps`", "api_key, or env"),
        ({"tensor-paralel-size": 2}, "no option --tensor-paralel-size", "tensor-parallel-size"),
        ({"max-num-seqs": "many"}, "no whole number", ""),
        ({"dtype": "fp16"}, "'fp16' is none of", "float16"),
    ],
)
def test_what_this_vllm_would_refuse_is_refused_here(args: dict[str, Any], words: str, hint: str) -> None:
    ((key, name, said, advice),) = _wrong(args=args)
    assert (key, name) == ("args", next(iter(args)))
    assert words in said
    assert hint in advice
    assert advice


def test_options_that_a_newer_vllm_lost_are_known_by_version() -> None:
    assert _wrong("0.8.2", args={"swap-space": 4}) == []
    assert "no option --swap-space" in _wrong("0.32.0", args={"swap-space": 4})[0][2]


def test_a_version_that_nobody_knows_is_a_warning() -> None:
    ((_, _, words, hint),) = _wrong("0.99.0", args={"max-num-seqs": 4})
    assert "newer than all that is known" in words
    assert hint == ""


def test_a_variable_that_spans_lines_is_refused() -> None:
    assert [found[:2] for found in _wrong(env={"A": "1\n2", "B": "1"})] == [("env", "A")]


class _Host:
    """A host of an inventory, with places like ``file:instances.0.args.x`` for every value."""

    name = "h"

    def __init__(self, **variables: object) -> None:
        self.variables = variables

    def resolve(self, variable: str) -> object:
        return self.variables[variable]

    def origin(self, variable: str, *path: str | int) -> Any:
        value: Any = self.variables.get(variable)
        try:
            for part in path:
                value = value[part]
        except (KeyError, TypeError, IndexError):
            return None
        return f"file:{'.'.join(map(str, (variable, *path)))}"


def test_an_error_stands_where_the_argument_was_written() -> None:
    instance = {"name": "a", "model": "m", "args": {"no-such": 1}}
    with pytest.raises(Findings) as error:
        settings_of(_Host(instances=[instance], vllm_args={"also-not": 1}))
    assert [e.where for e in error.value.errors] == ["file:vllm_args.also-not", "file:instances.0.args.no-such"]
    with pytest.raises(SettingsError, match="no option --no-such"):
        settings_of(_Host(instances=[instance]))
