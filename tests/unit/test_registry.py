from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import registry, web
from fleet.errors import LookupFailed, SettingsError
from fleet.registry import Found, Reference, candidates, parse
from fleet.secret import Secret
from fleet.settings import RegistryLogin
from tests.server import Answer, Request, Response, Server, serve

MANIFEST = json.dumps({"schemaVersion": 2, "layers": [{"size": 40}, {"size": 2}]}).encode()
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
LOGIN = RegistryLogin(username="me", password=Secret("p4ss"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ubuntu", Reference("docker.io", "library/ubuntu")),
        ("vllm/vllm-openai:v0.8.2", Reference("docker.io", "vllm/vllm-openai", "v0.8.2")),
        ("localhost/x", Reference("localhost", "x")),
        ("r.example:5000/a/b/c:1", Reference("r.example:5000", "a/b/c", "1")),
        (f"r.example/x@sha256:{'0' * 64}", Reference("r.example", "x", "latest", f"sha256:{'0' * 64}")),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text: str, parts: Reference) -> None:
    assert parse(text) == parts


@pytest.mark.parametrize("text", ["", "Upper/x", "x:y:z", "r.example/", "x@sha256:12", "a b"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse(text)


@given(st.from_regex(r"[a-z]{1,9}\.example(:[1-9][0-9]{1,3})?/[a-z]{1,9}/[a-z]{1,9}:[a-z0-9]{1,9}", fullmatch=True))
def test_a_whole_reference_is_its_own_name(text: str) -> None:
    found = parse(text)
    assert f"{found.name}:{found.tag}" == text


def test_candidates_are_the_mirror_the_registry_and_then_the_fall_backs() -> None:
    found = candidates(
        "vllm/vllm-openai:v1", {"docker.io": "m.example/docker.io"}, ("b.example:5000", "c.example/own/it")
    )
    assert found == (
        "m.example/docker.io/vllm/vllm-openai",
        "docker.io/vllm/vllm-openai",
        "b.example:5000/vllm/vllm-openai",
        "c.example/own/it",
    )


def _registry(server: list[Server], *, login: bool = False) -> Answer:
    """A registry that wants a token for everything, from its own /token."""

    def answer(request: Request) -> Response:
        if request.path == "/token":
            basic = "Basic " + base64.b64encode(b"me:p4ss").decode()
            if login and request.headers.get("Authorization") != basic:
                return Response(status=401)
            assert request.query["scope"] == "repository:egs/vllm:pull"
            return Response(b'{"token": "t0ken"}')
        if request.headers.get("Authorization") != "Bearer t0ken":
            realm = f"http://127.0.0.1:{server[0].port}/token"
            return Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="r"'})
        if request.path == "/v2/egs/vllm/manifests/1.0":
            return Response(MANIFEST, headers={"Docker-Content-Digest": DIGEST})
        return Response(status=404)

    return answer


def _look_up(ref: str, server: Server, login: RegistryLogin | None = None, names: tuple[str, ...] = ()) -> Found:
    place = ref.format(f"127.0.0.1:{server.port}")
    with web.session(backoff=0) as session:
        return registry.look_up(place, names or candidates(place, {}, ()), session=session, login=login)


def test_a_tag_is_resolved_by_a_token_and_its_layers_counted() -> None:
    held: list[Server] = []
    with serve(_registry(held)) as server:
        held.append(server)
        assert _look_up("{}/egs/vllm:1.0", server) == Found(DIGEST, 42)


def test_a_login_is_shown_to_the_token_server_and_a_wrong_one_told() -> None:
    held: list[Server] = []
    with serve(_registry(held, login=True)) as server:
        held.append(server)
        assert _look_up("{}/egs/vllm:1.0", server, LOGIN).digest == DIGEST
        with pytest.raises(LookupFailed, match=r"refuses us \(401\)") as error:
            _look_up("{}/egs/vllm:1.0", server)
    assert "image.login" in error.value.hint


def test_an_unknown_tag_is_told_with_its_name() -> None:
    with serve(lambda _: Response(status=404)) as server, pytest.raises(LookupFailed, match=r"doesn't have egs/vllm:9"):
        _look_up("{}/egs/vllm:9", server)


def test_a_manifest_that_was_changed_on_the_way_is_refused() -> None:
    lie = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    with (
        serve(lambda _: Response(MANIFEST, headers=lie)) as server,
        pytest.raises(LookupFailed, match="doesn't match its own digest"),
    ):
        _look_up("{}/egs/vllm:1.0", server)


def test_of_several_platforms_the_list_is_pulled_and_amd64_is_counted() -> None:
    index = json.dumps(
        {"manifests": [{"digest": "sha256:a", "platform": {"architecture": "arm64"}},
                       {"digest": "sha256:b", "platform": {"architecture": "amd64"}}]}
    ).encode()  # fmt: skip

    def answer(request: Request) -> Response:
        return Response({"1": index, "sha256:b": MANIFEST}[request.path.rpartition("/")[2]])

    with serve(answer) as server:
        assert _look_up("{}/x:1", server) == Found("sha256:" + hashlib.sha256(index).hexdigest(), 42)


def test_when_one_registry_is_down_the_next_is_asked_but_not_shown_the_login() -> None:
    def answer(request: Request) -> Response:
        assert "Authorization" not in request.headers
        return Response(MANIFEST)

    with serve(answer) as server:
        names = ("127.0.0.1:1/egs/vllm", f"127.0.0.1:{server.port}/egs/vllm")
        assert _look_up("127.0.0.1:1/egs/vllm:1.0", server, LOGIN, names).digest == DIGEST
        with pytest.raises(LookupFailed, match="no registry gives the digest"):
            _look_up("127.0.0.1:1/egs/vllm:1.0", server, LOGIN, ("127.0.0.1:1/a", "127.0.0.1:1/b"))


def test_a_digest_in_the_reference_asks_nobody() -> None:
    with web.session() as session:
        assert registry.look_up(f"x@sha256:{'1' * 64}", (), session=session).digest == f"sha256:{'1' * 64}"
