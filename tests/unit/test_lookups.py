from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fleet import web
from fleet.lookups import resolve
from fleet.settings import HostSettings
from tests.hub import Hub
from tests.server import Request, Response, serve

MANIFEST = b'{"layers": [{"size": 5}]}'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()


class Place:
    """A registry and a hub in one, whose image and models a test may change."""

    def __init__(self) -> None:
        self.hub = Hub({"me/tiny": {"config.json": b"{}"}})
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
    ]
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
