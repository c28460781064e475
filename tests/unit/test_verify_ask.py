"""What an instance's server is asked from inside its container, against a server that speaks as vLLM does."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ASK = Path(__file__).parents[1] / "verify" / "ask.py"
PATHS: dict[str, dict[str, Any]] = {
    "/health": {"get": {}}, "/v1/models": {"get": {}}, "/v1/completions": {"post": {}}, "/invocations": {"post": {}},
    "/v1/responses/{response_id}": {"get": {}}, "/inference/v1/generate": {"post": {}},
}  # fmt: skip


@contextmanager
def server(
    key: str = "", unguarded: str = "", described: bool = True
) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Its address, and what it was asked: method, path, body."""
    asked: list[tuple[str, str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            asked.append((self.command, self.path, body))
            allowed = self.headers.get("Authorization") == f"Bearer {key}" or not key or self.path == unguarded
            status, answer = 200, dict[str, Any](path=self.path)
            if self.path.startswith(("/v1", "/inference")) and not allowed:
                status, answer = 401, {"error": "Unauthorized"}
            elif self.path == "/v1/chat/completions" and body:
                answer = {"model": body["model"], "usage": {"completion_tokens": body["max_tokens"]}}
            elif self.path == "/openapi.json" and described:
                answer = {"paths": PATHS}
            text = json.dumps(answer).encode() if self.path != "/health" else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815 — the name that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}", asked
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def ask(url: str, vision: str = "no", key: str = "") -> dict[str, Any]:
    environment = {"VLLM_API_KEY": key, "http_proxy": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    words = [sys.executable, "-", url, "served", vision]
    done = subprocess.run(words, input=ASK.read_bytes(), env=environment, capture_output=True, check=True)
    assert key == "" or key.encode() not in done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_health_models_and_one_token_of_text_are_asked_for_with_the_key_and_never_through_a_proxy() -> None:
    with server("sk-1") as (url, asked):
        found = ask(url, key="sk-1")
    assert {name: found[name]["status"] for name in ("health", "models", "text")} == dict.fromkeys(
        ("health", "models", "text"), 200
    )
    assert found["text"]["body"] == {"model": "served", "usage": {"completion_tokens": 1}}
    assert "image" not in found
    assert ("GET", "/v1/models", None) in asked


def test_every_path_for_the_key_that_the_server_describes_is_asked_without_and_with_a_wrong_key() -> None:
    with server("sk-1") as (url, asked):
        found = ask(url, key="sk-1")["without_key"]
    assert found == dict.fromkeys(
        [
            f"{what}{how}"
            for what in (
                "GET /v1/models",
                "POST /v1/completions",
                "GET /v1/responses/{response_id}",
                "POST /inference/v1/generate",
            )
            for how in ("", " with a wrong key")
        ],
        401,
    )
    assert ("POST", "/v1/completions", {}) in asked, "an empty body: nothing would run"


def test_a_server_that_does_not_describe_itself_is_asked_for_what_all_have() -> None:
    with server("sk-1", described=False) as (url, _):
        found = ask(url, key="sk-1")["without_key"]
    assert {path for path in found if "wrong key" not in path} == {
        "GET /v1/models", "POST /v1/chat/completions", "POST /v1/completions"
    }  # fmt: skip
    assert set(found.values()) == {401}


def test_a_path_without_its_guard_is_seen() -> None:
    with server("sk-1", unguarded="/v1/completions") as (url, _):
        found = ask(url, key="sk-1")["without_key"]
    assert {path for path, status in found.items() if status == 200} == {
        "POST /v1/completions", "POST /v1/completions with a wrong key"
    }  # fmt: skip


def test_without_a_key_nobody_is_asked_for_one() -> None:
    with server() as (url, _):
        assert "without_key" not in ask(url)


def test_a_picture_is_a_whole_png() -> None:
    with server() as (url, asked):
        assert ask(url, "yes")["image"]["status"] == 200
    message = next(
        body["messages"][0]["content"]
        for _, _, body in asked
        if body and not isinstance(body["messages"][0]["content"], str)
    )
    data = base64.b64decode(message[0]["image_url"]["url"].removeprefix("data:image/png;base64,"))
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        chunks[kind], at = content, at + 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (width + 1)
    assert b"IEND" in chunks


def test_a_server_that_is_down_is_an_answer_of_status_0() -> None:
    found = ask("http://127.0.0.1:9")
    assert found["health"]["status"] == found["text"]["status"] == 0
    assert "refused" in found["health"]["body"]


def test_a_server_that_does_not_say_that_it_is_well_is_asked_nothing_more() -> None:
    """Each question would wait out its own time."""
    found = ask("http://127.0.0.1:9", "yes", key="sk-1")
    assert found["text"]["body"] == found["image"]["body"] == "not asked: /health doesn't answer"
    assert "without_key" not in found
