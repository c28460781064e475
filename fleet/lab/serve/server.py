"""The stand-in's endpoints over HTTP, as vLLM's server has them."""

from __future__ import annotations

import argparse
import hmac
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .answers import Answer, tokens
from .asked import CHARACTERS_A_TOKEN, Prompt, Refused, limit
from .faults import Faults
from .numbers import Numbers

VERSION = "0.32.0+stand-in"
#: uvicorn's way with a connection on which nothing is asked.
KEEP_ALIVE_SECONDS = 5
SEQUENCES = 256  # vLLM's max-num-seqs where nothing is said


class State:
    """What the server knows: its names, limits and keys, its model's identity, and what it has counted."""

    def __init__(
        self, told: argparse.Namespace, model: str, longest: int, *,
        identity: bytes = b"", faults: Faults | None = None, key: str = "",
    ) -> None:  # fmt: skip
        self.model, self.limit, self.identity = model, longest, identity
        self.images = int((told.limit_mm_per_prompt or {}).get("image", 999))
        self.keys = list(told.api_key or []) + ([key] if key else [])
        self.faults = faults or Faults()
        self.names = [self.faults.served_name] if self.faults.served_name else list(told.served_model_name or [model])
        self.started = int(time.time())
        self.numbers = Numbers(self.names[0], self.faults.metrics, int(told.max_num_seqs or SEQUENCES))

    def card(self, name: str) -> dict[str, Any]:
        """One entry of ``/v1/models``."""
        return {
            "id": name, "object": "model", "created": self.started, "owned_by": "vllm", "root": self.model,
            "parent": None, "max_model_len": self.limit, "permission": [],
        }  # fmt: skip


class Server(ThreadingHTTPServer):
    """Listens on IPv4 or IPv6, as the address is, without asking anybody for its name."""

    daemon_threads = True  # what is being answered ends with the process, as it does with vLLM's
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, state: State) -> None:
        self.state = state
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        """Bind, and go by the address."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One line for who hung up, and a traceback for what is our fault."""
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError):
            say(f"INFO: {client_address[0]}:{client_address[1]} - hung up")
        else:
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """The endpoints."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # head and body of an answer in one packet; events are flushed as they come
    server: Server

    def handle_one_request(self) -> None:
        """The next request on this connection, if it comes soon."""
        self.connection.settimeout(KEEP_ALIVE_SECONDS)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Its head; the body may take its time."""
        known = super().parse_request()
        self.connection.settimeout(None)
        return known

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the base class's word
        """One line a request, as vLLM's access log has it."""
        say(f"INFO: {self.client_address[0]}:{self.client_address[1]} - {format % args}")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Those that are refused: a line for each one that is answered would cost more than the answer."""
        if not str(code).startswith("2"):
            super().log_request(code, size)

    def do_GET(self) -> None:
        """Health, models, metrics."""
        state = self.server.state
        path = self.path.partition("?")[0]
        if path.startswith("/v1") and not self._allowed():
            return self._json({"error": "Unauthorized"}, 401)
        if path in ("/health", "/ping"):
            return self._send(b"", "text/plain", 503 if state.faults.never_healthy else 200)
        if path == "/version":
            return self._json({"version": VERSION})
        if path == "/load":
            return self._json({"server_load": state.numbers.running})
        if path == "/metrics":
            return self._send(state.numbers.text().encode(), "text/plain; version=0.0.4; charset=utf-8")
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
            if self.server.state.faults.never_healthy:
                raise Refused(500, "InternalServerError", "EngineCore encountered an issue.")
            prompt = Prompt(request)
            if path == "/tokenize":
                count = len(prompt.text) // CHARACTERS_A_TOKEN
                return self._json({"count": count, "max_model_len": self.server.state.limit})
            return self._complete(request, prompt, chat="chat" in path)
        except Refused as refused:
            return self._json(refused.body, refused.code)
        except ConnectionError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            return self._json(Refused(400, "BadRequestError", f"invalid request: {error}").body, 400)

    def _complete(self, request: dict[str, Any], prompt: Prompt, *, chat: bool) -> None:
        state = self.server.state
        name = request.get("model") or state.names[0]
        if name not in state.names:
            words = f"The model `{name}` does not exist. Valid aliases: {', '.join(state.names)}."
            raise Refused(404, "NotFoundError", words, "model")
        if prompt.images > state.images:
            words = f"At most {state.images} image(s) may be provided in one prompt. (parameter=image)"
            raise Refused(400, "BadRequestError", words, "image")
        most = limit(request)
        if most < 1 or prompt.tokens + most > state.limit:
            words = f"max_tokens={most} with a prompt of {prompt.tokens} tokens: the maximum context is {state.limit}"
            raise Refused(400, "BadRequestError", words, "max_tokens")
        whole, nonsense = bool(request.get("ignore_eos")), state.faults.nonsense
        said, reason = tokens(state.identity, prompt.digest, most, whole=whole, nonsense=nonsense)
        usage = {
            "prompt_tokens": prompt.tokens, "completion_tokens": len(said), "total_tokens": prompt.tokens + len(said),
        }  # fmt: skip
        wanted = request.get("logprobs")
        answer = Answer(chat, name, reason, logprobs=wanted is not None and wanted is not False)
        with state.numbers.answering(prompt.tokens, len(said)):
            if not request.get("stream"):
                for _ in self._paced(said):
                    pass
                return self._json(answer.whole(said, usage))
            counted = (request.get("stream_options") or {}).get("include_usage")
            return self._stream(answer, said, usage if counted else None)

    def _stream(self, answer: Answer, said: Sequence[str], usage: dict[str, int] | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if answer.chat:
            self._event(json.dumps(answer.role()))
        last = len(said) - 1
        for number, token in enumerate(self._paced(said)):
            self._event(json.dumps(answer.piece(token, last=number == last)))
            if number < last and self.server.state.faults.pace:
                self.wfile.flush()
        if usage:
            self._event(json.dumps(answer.usage(usage)))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _paced(self, said: Sequence[str]) -> Iterator[str]:
        """The tokens, each at its time: one that a busy machine made late doesn't delay those after it."""
        pace, started = self.server.state.faults.pace, time.monotonic()
        for number, token in enumerate(said, 1):
            if pace:
                time.sleep(max(0.0, started + number / pace - time.monotonic()))
            yield token

    def _event(self, text: str) -> None:
        data = f"data: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

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
        self.wfile.flush()


def say(text: str) -> None:
    """A line of the log."""
    print(text, file=sys.stderr, flush=True)


def in_background(server: Server) -> threading.Thread:
    """Serve in a thread of its own; it ends with ``server.shutdown()``."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    return thread
