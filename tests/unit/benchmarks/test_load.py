"""The load generator: a whole answer is counted as one, and nothing less than whole ever is."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load, load_http, load_mix
from benchmarks.load_http import Endpoint, Failed, stream_tokens, whole_tokens
from fleet.lab.serve import arguments, server
from fleet.lab.serve.faults import Faults

OPTIONS = Path(arguments.__file__).parents[2] / "sizing" / "data" / "options.json"
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stand-in that has a key."""
    monkeypatch.setattr(arguments, "OPTIONS", OPTIONS)
    told = arguments.parser().parse_args(["/m", "--served-model-name", "qwen", "--api-key", "k"])
    found = server.Server("127.0.0.1", 0, server.State(told, "/m", 4096, faults=Faults(pace=2000)))
    thread = server.in_background(found)
    yield f"http://127.0.0.1:{found.socket.getsockname()[1]}"
    found.shutdown()
    thread.join(5)
    found.server_close()


def run(*urls: str, out: Path | None = None, **options: Any) -> dict[str, Any]:
    words = [word for url in urls for word in ("--url", url)]
    words += [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words += ["--out", str(out)] if out else []
    told = load.parser().parse_args(["--model", "qwen", *words])
    if out is None:
        return asyncio.run(load._run(told, None))
    with out.open("a") as stream:
        return asyncio.run(load._run(told, stream))


def test_a_mixed_load_is_answered_whole_and_every_kind_is_in_it(url: str) -> None:
    summary = run(url, key="k", requests=300, workers=8)

    assert (summary["requests"], summary["failed"]) == (300, 0)
    assert set(summary["by_kind"]) == set(load_mix.MIX)
    assert summary["tokens"] >= 300 * 8
    assert 0 < summary["first_p50"] <= summary["p50"] <= summary["p99"]


def test_an_open_loop_begins_as_many_as_it_is_told(url: str) -> None:
    summary = run(url, key="k", rate=100, seconds=1)

    assert summary["failed"] == 0
    assert 30 <= summary["requests"] <= 101  # fewer where the machine has other work


def test_one_that_is_told_to_end_goes_on_until_it_has_asked_as_many_as_it_must(url: str) -> None:
    assert run(url, key="k", workers=4, seconds=0.05, at_least=150)["requests"] == 150


def test_what_is_refused_is_a_failure_with_its_status(url: str, tmp_path: Path) -> None:
    summary = run(url, key="wrong", requests=4, workers=2, out=tmp_path / "failures")
    lines = [json.loads(line) for line in (tmp_path / "failures").read_text().splitlines()]

    assert summary["failed"] == 4 == len(lines)
    assert summary["errors"] == {"status-401": 4}
    assert {line["url"] for line in lines} == {url}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_a_gateway_that_is_gone_fails_requests_unless_they_may_go_to_another(url: str) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    words = ["--url", gone, "--url", url, "--model", "qwen", "--key", "k", "--requests", "8", "--workers", "4"]
    alone = asyncio.run(load._run(load.parser().parse_args(words), None))
    moving = asyncio.run(load._run(load.parser().parse_args([*words, "--fail-over"]), None))

    assert alone["errors"] == {"connect": alone["failed"]}
    assert alone["failed_by_url"] == {gone: alone["failed"]}
    assert (moving["failed"], moving["moved"] > 0) == (0, True)


def answering(reply: bytes, *, hang_up: bool = True) -> tuple[str, Callable[[], None]]:
    """A server that answers each connection's first request with these bytes."""
    listening = socket.create_server(("127.0.0.1", 0))
    kept = []

    def serve() -> None:
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            line.recv(1 << 20)
            line.sendall(reply)
            kept.append(line)
            if hang_up:
                line.close()

    threading.Thread(target=serve, daemon=True).start()

    def end() -> None:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for line in kept:
            line.close()

    return f"http://127.0.0.1:{listening.getsockname()[1]}", end


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"", "cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "cut"),
        (CHUNKED + b"5\r\ndata:\r\n", "cut"),
        (CHUNKED + b"0\r\n\r\n", "wrong"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "wrong"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "status-503"),
        (b"nonsense\r\n\r\n", "wrong"),
    ],
)
def test_an_answer_that_breaks_off_is_a_failure(reply: bytes, kind: str) -> None:
    url, end = answering(reply)
    summary = _one(url)
    end()

    assert summary["errors"] == {kind: 1}


def test_an_answer_that_never_comes_is_a_failure() -> None:
    url, end = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", hang_up=False)
    summary = _one(url, "--patience", "0.3")
    end()

    assert summary["errors"] == {"timeout": 1}


def _one(url: str, *words: str) -> dict[str, Any]:
    told = ["--model", "qwen", "--url", url, "--requests", "1", "--workers", "1", "--no-images", *words]
    return asyncio.run(load._run(load.parser().parse_args(told), None))


def stream(*chunks: object, end: bool = True) -> bytes:
    events = [f"data: {json.dumps(chunk)}" for chunk in chunks] + (["data: [DONE]"] if end else [])
    return "".join(f"{event}\n\n" for event in events).encode()


def delta(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": reason}]}


COUNTS = {"choices": [], "usage": USAGE}


def test_a_stream_is_whole_with_text_a_reason_counts_and_its_end() -> None:
    assert stream_tokens(stream(delta("a"), delta("b", "stop"), COUNTS)) == 2


@pytest.mark.parametrize(
    "body",
    [
        stream(delta("a"), delta("b", "stop"), COUNTS, end=False),
        stream(delta("a"), delta("b"), COUNTS),
        stream(delta("a"), delta("b", "stop")),
        stream(delta(""), delta("", "stop"), COUNTS),
        stream(delta("a"), delta("b", "abort"), COUNTS),
        stream(delta("a"), {"error": {"message": "EngineDeadError"}}),
        b"data: {nonsense\n\ndata: [DONE]\n\n",
        b"",
    ],
)
def test_a_stream_that_lacks_any_of_it_is_not(body: bytes) -> None:
    with pytest.raises(Failed):
        stream_tokens(body)


def test_an_answer_in_one_piece_is_judged_alike() -> None:
    choice = {"message": {"content": "ab"}, "finish_reason": "stop"}
    assert whole_tokens(json.dumps({"choices": [choice], "usage": USAGE}).encode()) == 2
    for wrong in ({"choices": [choice]}, {"choices": [choice | {"finish_reason": None}], "usage": USAGE}, {"error": 1}):
        with pytest.raises(Failed):
            whole_tokens(json.dumps(wrong).encode())


def test_a_kept_connection_that_was_closed_meanwhile_is_opened_anew(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 0.1)
    (ask,) = load_mix.make("qwen", images=False)[0][:1]

    async def twice() -> None:
        connection = load_http.Connection(Endpoint(url, "k"))
        await connection.ask(ask, keep=True)
        await asyncio.sleep(0.5)
        await connection.ask(ask, keep=True)
        connection.close()

    asyncio.run(twice())


def test_the_same_seed_asks_the_same_and_large_images_are_about_a_megabyte() -> None:
    asks = load_mix.make("qwen", seed=3)
    large = max(len(ask.body) for variants in asks for ask in variants)

    assert load_mix.make("qwen", seed=3) == asks
    assert 1_000_000 < large < 1_600_000
    kinds = Counter(variants[0].kind for variants in asks)
    assert set(kinds) == set(load_mix.MIX)


def test_quantiles_are_of_what_was_seen() -> None:
    assert load.quantile([], 0.5) is None
    assert load.quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert load.quantile([1.0] * 99 + [9.0], 0.99) == 9.0
