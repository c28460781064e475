"""A light stand-in for vLLM's server: the same endpoints, the same refusals, no model. Standard library alone.

For machines that can't have the real one, and for tests with many hosts or faults. It says of itself what it is:
``GET /version`` ends in ``+stand-in``. ``FLEETLAB_START_SECONDS`` delays the start, ``FLEETLAB_TOKENS_PER_SECOND``
sets the pace of answers, ``FLEETLAB_FAIL`` ends the start with that text and 1.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

VERSION = "0.32.0+stand-in"
OPTIONS = Path(__file__).with_name("options.json")
SAYING = ("This", " is", " the", " stand-in", " of", " the", " lab", ":", " it", " has", " no", " model", ".")
DEFAULT_TOKENS = 16
CHARACTERS_A_TOKEN, TOKENS_AN_IMAGE = 4, 16


def main(words: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    told = parser().parse_args(list(words))
    if os.environ.get("FLEETLAB_FAIL"):
        return _ended(os.environ["FLEETLAB_FAIL"])
    model = Path(told.model_tag or told.model or "")
    try:
        config = json.loads((model / "config.json").read_text())
    except (OSError, ValueError):
        return _ended(f"Invalid repository ID or local directory specified: '{model}'")
    longest = int(config.get("max_position_embeddings") or 4096)
    limit = _tokens(told.max_model_len) or longest
    if limit > longest:
        return _ended(f"User-specified max_model_len ({limit}) is greater than the derived max_model_len ({longest})")
    time.sleep(float(os.environ.get("FLEETLAB_START_SECONDS") or 0))
    state = State(told, str(model), limit)
    try:
        server = Server(told.host or "0.0.0.0", int(told.port or 8000), state)
    except OSError as error:
        return _ended(f"OSError: {error}")
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    _say(f"stand-in: no model is loaded; listening on {told.host}:{told.port}")
    server.serve_forever()
    return 0


class Parser(argparse.ArgumentParser):
    """Refuses as vLLM's own parser does."""

    def error(self, message: str) -> NoReturn:
        """Say it and end with 2."""
        print(f"vllm serve: error: {message}", file=sys.stderr)
        sys.exit(2)


def parser() -> Parser:
    """Every option of vLLM 0.32's own parser, by the list that was dumped from it."""
    made = Parser(prog="vllm serve", add_help=False, allow_abbrev=False)
    made.add_argument("model_tag", nargs="?")
    for name, rows in json.loads(OPTIONS.read_text())["options"].items():
        row = next((row for row in rows if "0.32.0" in row["in"]), None)
        if row is None:
            continue
        names = [f"--{name}", *(alias for alias in row.get("aliases", ()) if not alias.startswith("--no-"))]
        kind = row["kind"]
        if kind in ("flag", "switch"):
            action: Any = argparse.BooleanOptionalAction if kind == "switch" else "store_true"
            made.add_argument(*names, dest=_dest(name), action=action, default=None)
            continue
        known: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "json": json.loads}
        several = "+" if kind == "words" else None
        choices = row.get("choices")
        made.add_argument(*names, dest=_dest(name), type=known.get(kind, str), nargs=several, choices=choices)
    return made


class State:
    """What the server knows: its names, limits and keys, and what it has counted."""

    def __init__(self, told: argparse.Namespace, model: str, limit: int) -> None:
        self.model = model
        self.names = list(told.served_model_name or [model])
        self.limit = limit
        self.images = int((told.limit_mm_per_prompt or {}).get("image", 999))
        environment = os.environ.get("VLLM_API_KEY")
        self.keys = list(told.api_key or []) + ([environment] if environment else [])
        self.pace = float(os.environ.get("FLEETLAB_TOKENS_PER_SECOND") or 0)
        self.started = int(time.time())
        self.lock = threading.Lock()
        self.running = self.served = self.prompt_tokens = self.generated_tokens = 0

    def metrics(self) -> str:
        """The families that vLLM has and that somebody may ask for, in Prometheus's text form."""
        label = f'{{engine="0",model_name="{self.names[0]}"}}'
        rows = [
            ("vllm:num_requests_running", "gauge", self.running),
            ("vllm:num_requests_waiting", "gauge", 0),
            ("vllm:kv_cache_usage_perc", "gauge", 0.01 * self.running),
            ("vllm:num_preemptions_total", "counter", 0),
            ("vllm:prompt_tokens_total", "counter", self.prompt_tokens),
            ("vllm:generation_tokens_total", "counter", self.generated_tokens),
        ]
        lines = [f"# TYPE {name} {kind}\n{name}{label} {value}" for name, kind, value in rows]
        reason = label.replace("{", '{finished_reason="stop",')
        lines.append(f"# TYPE vllm:request_success_total counter\nvllm:request_success_total{reason} {self.served}")
        return "\n".join(lines) + "\n"

    def card(self, name: str) -> dict[str, Any]:
        """One entry of ``/v1/models``."""
        return {
            "id": name, "object": "model", "created": self.started, "owned_by": "vllm", "root": self.model,
            "parent": None, "max_model_len": self.limit, "permission": [],
        }  # fmt: skip


class Server(ThreadingHTTPServer):
    """Listens on IPv4 or IPv6, as the address is, without asking anybody for its name."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, state: State) -> None:
        self.state = state
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        """Bind, and go by the address."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class Refused(Exception):
    """A request that vLLM would answer with an error object."""

    def __init__(self, code: int, kind: str, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body = {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


class Handler(BaseHTTPRequestHandler):
    """The endpoints."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the base class's word
        """One line a request, as vLLM's access log has it."""
        _say(f"INFO: {self.client_address[0]}:{self.client_address[1]} - {format % args}")

    def do_GET(self) -> None:
        """Health, models, metrics."""
        state = self.server.state
        path = self.path.partition("?")[0]
        if path.startswith("/v1") and not self._allowed():
            return self._json({"error": "Unauthorized"}, 401)
        if path in ("/health", "/ping"):
            return self._send(b"", "text/plain")
        if path == "/version":
            return self._json({"version": VERSION})
        if path == "/load":
            return self._json({"server_load": state.running})
        if path == "/metrics":
            return self._send(state.metrics().encode(), "text/plain; version=0.0.4; charset=utf-8")
        if path == "/v1/models":
            return self._json({"object": "list", "data": [state.card(name) for name in state.names]})
        return self._json({"detail": "Not Found"}, 404)

    def do_POST(self) -> None:
        """Completions of both kinds."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path.startswith("/v1") and not self._allowed():
            return self._json({"error": "Unauthorized"}, 401)
        if path not in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/invocations"):
            return self._json({"detail": "Not Found"}, 404)
        try:
            request = json.loads(body)
            if not isinstance(request, dict):
                raise Refused(400, "BadRequestError", "the body must be an object")
            text, images = _prompt(request)
            if path == "/tokenize":
                return self._json({"count": len(text) // CHARACTERS_A_TOKEN, "max_model_len": self.server.state.limit})
            return self._complete(request, chat="completions" in path and "chat" in path, text=text, images=images)
        except Refused as refused:
            return self._json(refused.body, refused.code)
        except (ValueError, TypeError, AttributeError) as error:
            return self._json(Refused(400, "BadRequestError", f"invalid request: {error}").body, 400)

    def _complete(self, request: dict[str, Any], *, chat: bool, text: str, images: int) -> None:
        state = self.server.state
        name = request.get("model") or state.names[0]
        if name not in state.names:
            aliases = ", ".join(state.names)
            words = f"The model `{name}` does not exist. Valid aliases: {aliases}."
            raise Refused(404, "NotFoundError", words, "model")
        if images > state.images:
            words = f"At most {state.images} image(s) may be provided in one prompt. (parameter=image)"
            raise Refused(400, "BadRequestError", words, "image")
        asked = int(request.get("max_tokens") or request.get("max_completion_tokens") or DEFAULT_TOKENS)
        prompt = max(1, len(text) // CHARACTERS_A_TOKEN) + TOKENS_AN_IMAGE * images
        if asked < 1 or prompt + asked > state.limit:
            words = f"max_tokens={asked} with a prompt of {prompt} tokens: the maximum context is {state.limit}"
            raise Refused(400, "BadRequestError", words, "max_tokens")
        with state.lock:
            state.running += 1
        try:
            tokens = list(SAYING[: min(asked, len(SAYING))])
            usage = {
                "prompt_tokens": prompt,
                "completion_tokens": len(tokens),
                "total_tokens": prompt + len(tokens),
            }
            answer = Answer(chat, name, "length" if asked < len(SAYING) else "stop")
            if request.get("stream"):
                self._stream(
                    answer, tokens, usage if (request.get("stream_options") or {}).get("include_usage") else None
                )
            else:
                for _ in self._paced(tokens):
                    pass
                self._json(answer.whole("".join(tokens), usage))
        finally:
            with state.lock:
                state.running -= 1
                state.served += 1
                state.prompt_tokens += prompt
                state.generated_tokens += len(tokens)

    def _stream(self, answer: Answer, tokens: Sequence[str], usage: dict[str, int] | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for token in self._paced(tokens):
            self._event(json.dumps(answer.piece(token, last=False)))
        self._event(json.dumps(answer.piece("", last=True)))
        if usage:
            self._event(json.dumps({**answer.head(), "choices": [], "usage": usage}))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _paced(self, tokens: Sequence[str]) -> Iterator[str]:
        for token in tokens:
            if self.server.state.pace:
                time.sleep(1 / self.server.state.pace)
            yield token

    def _event(self, text: str) -> None:
        data = f"data: {text}\n\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _allowed(self) -> bool:
        scheme, _, given = (self.headers.get("Authorization") or "").partition(" ")
        keys = self.server.state.keys
        if not keys:
            return True
        return scheme.lower() == "bearer" and any(hmac.compare_digest(given.encode(), key.encode()) for key in keys)

    def _json(self, value: object, code: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", code)

    def _send(self, body: bytes, kind: str, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Answer:
    """The shapes of an answer, whole or in pieces."""

    def __init__(self, chat: bool, model: str, reason: str) -> None:
        self.chat, self.model, self.reason = chat, model, reason
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def head(self, piece: str = ".chunk") -> dict[str, Any]:
        """What every object begins with."""
        kind = f"chat.completion{piece}" if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self, text: str, usage: dict[str, int]) -> dict[str, Any]:
        """The answer at once."""
        said = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": self.reason}
        return {**self.head(""), "choices": [choice], "usage": usage}

    def piece(self, text: str, *, last: bool) -> dict[str, Any]:
        """One event of a stream."""
        said: dict[str, Any] = {"delta": {"content": text}} if self.chat else {"text": text}
        return {**self.head(), "choices": [{"index": 0, **said, "finish_reason": self.reason if last else None}]}


def _prompt(request: dict[str, Any]) -> tuple[str, int]:
    """The text of a request, and how many images are in it."""
    if "messages" not in request:
        return str(request.get("prompt", "")), 0
    texts, images = [], 0
    if not request["messages"]:
        raise Refused(400, "BadRequestError", "messages must not be empty", "messages")
    for message in request["messages"]:
        content = message["content"] if isinstance(message.get("content"), list) else [message.get("content")]
        for part in content:
            if isinstance(part, dict) and part.get("type") == "image_url":
                images += 1
            elif isinstance(part, dict):
                texts.append(str(part.get("text", "")))
            else:
                texts.append(str(part or ""))
    return "".join(texts), images


def _tokens(value: Any) -> int:
    """``8192``, ``8k`` (1000), ``8K`` (1024), ``auto`` or -1 (0: as the model says)."""
    text = str(value or "")
    if text in ("", "auto", "-1"):
        return 0
    units = {"k": 1000, "K": 1024, "m": 10**6, "M": 2**20}
    return int(float(text[:-1]) * units[text[-1]]) if text[-1] in units else int(text)


def _dest(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")


def _ended(words: str) -> int:
    _say(f"ERROR: {words}")
    return 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
