from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fleet import web
from fleet.lookups import resolve
from fleet.settings import HostSettings
from tests.hub import Hub
from tests.server import Request, Response, serve

CONFIG = {"hidden_size": 64}
MANIFEST = b'{"layers": [{"size": 5}]}'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()


class Place:
    """A registry and a hub in one, whose image and models a test may change."""

    def __init__(self) -> None:
        self.hub = Hub({"me/tiny": {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": b"\0"}})
        self.image = MANIFEST

    def __call__(self, request: Request) -> Response:
        return Response(self.image) if request.path == "/v2/vllm/manifests/0.8.2" else self.hub(request)


def _settings(port: int, model: str = "me/tiny", **image: object) -> HostSettings:
    return HostSettings.model_validate(
        {
            "image": {"ref": f"127.0.0.1:{port}/vllm:0.8.2", **image},
            "weights": {"endpoint": f"http://127.0.0.1:{port}"},
            "instances": ({"name": "a", "model": model, "gpus": 1},),
        }
    )


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "RETRIES", 0)


def test_all_hosts_get_what_one_look_up_found(tmp_path: Path) -> None:
    said: list[str] = []
    with serve(Place()) as server:
        told = _settings(server.port)
        found = resolve({"one": told, "two": told}, tmp_path, say=said.append)
    assert found.digests == {told.image.ref: DIGEST}
    assert found.image_sizes == {told.image.ref: 5}
    assert found.manifests["me/tiny", "master"].files[0].path == "config.json"
    assert [request.path for request in server.asked] == [
        "/v2/vllm/manifests/0.8.2",
        "/api/v1/models/me/tiny/repo/files",
        "/api/v1/models/me/tiny/repo",
    ]
    assert found.manifests["me/tiny", "master"].config == CONFIG
    assert len(said) == 2
    assert said[0].endswith(f"locked to {DIGEST[7:19]}")


def test_what_is_locked_is_asked_of_nobody_even_when_it_moved(tmp_path: Path) -> None:
    place = Place()
    with serve(place) as server:
        told = _settings(server.port)
        first = resolve({"one": told}, tmp_path)
        place.image = b"{}"
        server.asked.clear()
        assert resolve({"one": told}, tmp_path) == first
        assert server.asked == []


def test_an_update_asks_again_and_says_what_changed(tmp_path: Path) -> None:
    place, said = Place(), list[str]()
    with serve(place) as server:
        told = _settings(server.port)
        resolve({"one": told}, tmp_path)
        place.image = b"{}"
        found = resolve({"one": told}, tmp_path, say=said.append, update=True)
    assert found.digests[told.image.ref] == "sha256:" + hashlib.sha256(b"{}").hexdigest()
    assert len(said) == 1
    assert f"was {DIGEST[7:19]}, now" in said[0]


def test_a_digest_that_is_told_is_not_looked_up(tmp_path: Path) -> None:
    with serve(Place()) as server:
        resolve({"one": _settings(server.port, digest="sha256:" + "9" * 64)}, tmp_path)
        assert all("/v2/" not in request.path for request in server.asked)
    assert not (tmp_path / "images.lock").exists()


def test_a_failure_stops_the_hosts_that_need_it_and_is_never_locked(tmp_path: Path) -> None:
    with serve(Place()) as server:
        good, bad = _settings(server.port), _settings(server.port, model="me/other")
        found = resolve({"good": good, "bad": bad, "also-bad": bad}, tmp_path)
    assert set(found.failures) == {"bad", "also-bad"}
    assert "doesn't have me/other" in found.failures["bad"].message
    assert list(found.manifests) == [("me/tiny", "master")]
    assert "me/other" not in (tmp_path / "models.lock").read_text()


def _forget_texts(directory: Path) -> None:
    lock = directory / "models.lock"
    document = json.loads(lock.read_text())
    for row in document["models"].values():
        del row["texts"]
    lock.write_text(json.dumps(document))


def test_a_lock_without_the_config_gets_it_once(tmp_path: Path) -> None:
    with serve(Place()) as server:
        told = _settings(server.port)
        first = resolve({"one": told}, tmp_path)
        _forget_texts(tmp_path)
        assert resolve({"one": told}, tmp_path) == first
        server.asked.clear()
        assert resolve({"one": told}, tmp_path) == first
        assert server.asked == []


def test_a_config_that_moved_since_it_was_locked_is_not_taken_and_stops_nobody(tmp_path: Path) -> None:
    place, said = Place(), list[str]()
    with serve(place) as server:
        told = _settings(server.port)
        first = resolve({"one": told}, tmp_path)
        _forget_texts(tmp_path)
        place.hub.models["me/tiny"]["config.json"] = b'{"hidden_size": 128}'
        found = resolve({"one": told}, tmp_path, say=said.append)
    assert found.failures == {}
    assert found.manifests["me/tiny", "master"].files == first.manifests["me/tiny", "master"].files
    assert found.manifests["me/tiny", "master"].config is None
    assert len(said) == 1
    assert "sized by its name" in said[0]
