from __future__ import annotations

from dataclasses import replace

import pytest

from fleet import web
from fleet.errors import LookupFailed
from fleet.target import Manifest
from fleet.weights import texts
from fleet.weights.hub import look_up
from tests.hub import Hub
from tests.server import Response, serve

CONFIG = b'{"hidden_size": 64}'
FILES = {"config.json": CONFIG, "preprocessor_config.json": b'{"max_pixels": 12544}', "model.safetensors": b"\0" * 99}


def _ask(hub: Hub, source: str = "modelscope", change: Manifest | None = None) -> Manifest:
    with serve(hub) as server, web.session(backoff=0) as session:
        endpoint = f"http://127.0.0.1:{server.port}"
        found = change or look_up("me/tiny", "master", source=source, session=session, endpoint=endpoint)
        return texts.complete(found, session=session, endpoint=endpoint)


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_what_a_model_is_comes_from_either_hub(source: str) -> None:
    found = _ask(Hub({"me/tiny": FILES}), source)
    assert found.config == {"hidden_size": 64}
    assert found.preprocessor == {"max_pixels": 12544}
    assert found.weight_bytes == 99
    assert texts.missing(found) == []


def test_a_model_without_such_files_has_none() -> None:
    found = _ask(Hub({"me/tiny": {"model.gguf": b"x"}}))
    assert (found.config, found.preprocessor, found.weight_bytes) == (None, None, None)


@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 100_000], ids=["cut", "a list", "deep"])
def test_what_is_no_json_object_says_nothing(body: bytes) -> None:
    assert _ask(Hub({"me/tiny": {"config.json": body}})).config is None


def test_other_bytes_than_listed_are_not_taken() -> None:
    hub = Hub({"me/tiny": FILES}, faults={"config.json": [Response(b'{"hidden_size": 65}')]})
    with pytest.raises(LookupFailed, match="isn't what the hub listed it as"):
        _ask(hub)


def test_a_huge_one_is_not_fetched() -> None:
    assert _ask(Hub({"me/tiny": {"config.json": b" " * (texts.MOST + 1)}})).texts == {}


def test_what_is_at_hand_is_not_asked_for_again() -> None:
    found = _ask(Hub({"me/tiny": FILES}))
    assert _ask(Hub({}), change=replace(found)) == found
