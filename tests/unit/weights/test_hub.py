from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import web
from fleet.errors import LookupFailed
from fleet.secret import Secret
from fleet.target import Manifest, ModelFile
from fleet.weights.hub import content_id, look_up
from tests.hub import Hub, sha256
from tests.server import Answer, Response, serve

FILES = {"config.json": b"{}", "model.safetensors": b"\x00" * 999, "sub dir/é.txt": b"x"}
ROWS = tuple(ModelFile(path, len(data), sha256(data)) for path, data in sorted(FILES.items()))


def _ask(hub: Answer, source: str, token: Secret | None = None, model: str = "me/tiny") -> Manifest:
    with serve(hub) as server, web.session(backoff=0) as session:
        endpoint = f"http://127.0.0.1:{server.port}/"
        return look_up(model, "master", source=source, session=session, endpoint=endpoint, token=token)


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_both_hubs_give_one_manifest(source: str) -> None:
    found = _ask(Hub({"me/tiny": FILES}), source)
    assert found.files == ROWS
    assert found.content_id == content_id(ROWS)
    assert found.size == 1002


def test_a_file_that_is_listed_without_a_hash_is_fetched_and_hashed() -> None:
    assert _ask(Hub({"me/tiny": FILES}, hashes=False), "modelscope").files == ROWS


def test_a_file_that_came_damaged_is_not_taken_for_the_right_one() -> None:
    hub = Hub({"me/tiny": FILES}, faults={"config.json": [Response(b"[]")]})
    with pytest.raises(LookupFailed, match=r"config\.json came damaged"):
        _ask(hub, "huggingface")


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_a_token_is_sent_and_its_lack_told(source: str) -> None:
    hub = Hub({"me/tiny": FILES}, token="hub-t0ken")
    assert _ask(hub, source, Secret("hub-t0ken")).files == ROWS
    with pytest.raises(LookupFailed, match=r"refuses us \(401\)") as error:
        _ask(hub, source)
    assert "weights.token" in error.value.hint


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_a_model_that_the_hub_does_not_have_is_named(source: str) -> None:
    with pytest.raises(LookupFailed, match="doesn't have me/other"):
        _ask(Hub({}), source, model="me/other")


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "a\nb", "", ".fleet/stamp"])
def test_a_name_that_leads_out_of_the_directory_is_refused(path: str) -> None:
    rows = {"Data": {"Files": [{"Type": "blob", "Path": path, "Name": path, "Size": 1, "Sha256": "0" * 64}]}}
    with pytest.raises(LookupFailed, match="isn't safe"):
        _ask(lambda _: Response(json.dumps(rows).encode()), "modelscope")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"Data": {"Files": [{"Path": "x"}]}}', b'{"Data": null}'])
def test_garbage_is_told_as_such(body: bytes) -> None:
    with pytest.raises(LookupFailed, match="isn't"):
        _ask(lambda _: Response(body), "modelscope")


files = st.builds(ModelFile, st.text(min_size=1), st.integers(0, 10**12), st.text("0123456789abcdef", min_size=64))


@given(st.lists(files, min_size=1, max_size=5), st.randoms())
def test_the_content_id_is_of_the_files_not_of_their_order(rows: list[ModelFile], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis's Random
    assert content_id(shuffled) == content_id(rows)
    assert content_id(rows[1:]) != content_id(rows)
