"""A server that speaks as vLLM does, and a host that runs it: for tests of what is asked inside a container.

What the server says depends on the prompt alone. The host is this machine, with a ``docker``, ``systemctl`` and
``journalctl`` that say what the test wants; ``docker exec`` really runs what it is given.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fleet.rollout.live import Live
from fleet.shell import PREAMBLE, quote
from fleet.transport import Reply
from fleet.transport.local import LocalTransport

KEY = "sk-of-the-talker"
RUNS = "running=true\nstarted=2026-11-23T05:00:00.5Z\noom=false\nid=c0ffee\nrelease=r2\n"
ACTIVE = "ActiveState=active\nSubState=running\nNRestarts=0\nResult=success\n"


@dataclass
class Talker:
    """How the server is; a test changes it while it serves."""

    names: tuple[str, ...] = ("vl",)
    length: int = 4096
    health: int = 200
    chat: int = 200
    nonsense: bool = False
    other: str = ""  #: makes another model of it
    first: float = 0.0
    pace: float = 1000.0
    metrics: str = 'vllm:num_requests_running{engine="0"} 0.0\n'
    url: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def says(self, request: dict[str, Any]) -> list[str]:
        """Its tokens, by the prompt."""
        most = request["max_tokens"]
        if self.nonsense:
            return ["!"] * most
        seed = json.dumps(request["messages"]) + self.other
        return [hashlib.sha256(f"{seed}{i}".encode()).hexdigest()[:4] for i in range(most)]


class _Handler(BaseHTTPRequestHandler):
    talker: Talker

    def do_GET(self) -> None:
        self.talker.asked.append((self.path, None))
        if self.path == "/health":
            return self.answer(self.talker.health, "")
        if self.path == "/metrics":
            return self.answer(200, self.talker.metrics)
        if not self.allowed():
            return self.answer(401, {"error": "Unauthorized"})
        cards = [{"id": name, "max_model_len": self.talker.length} for name in self.talker.names]
        return self.answer(200, {"data": cards})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.talker.asked.append((self.path, request))
        if not self.allowed():
            return self.answer(401, {"error": "Unauthorized"})
        if self.talker.chat != 200:
            return self.answer(self.talker.chat, {"error": {"message": "it says no"}})
        tokens = self.talker.says(request)
        time.sleep(self.talker.first)
        if request.get("stream"):
            return self.stream(tokens)
        choice = {"message": {"content": "".join(tokens)}, "logprobs": None}
        return self.answer(200, {"choices": [choice], "usage": {"completion_tokens": len(tokens)}})

    def stream(self, tokens: list[str]) -> None:
        self.send_response(200)
        self.end_headers()
        self.event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for token in tokens:
            self.event({"choices": [{"delta": {"content": token}}]})
            time.sleep(1 / self.talker.pace)
        self.event({"choices": [], "usage": {"completion_tokens": len(tokens)}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, body: object) -> None:
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())

    def allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {KEY}"

    def answer(self, status: int, body: object) -> None:
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def talking(talker: Talker) -> Iterator[Talker]:
    """The server, while the block runs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"talker": talker}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    talker.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield talker
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class TalkersHost(LocalTransport):
    """The host. What its programs say lies in files of ``path``: ``unit``, ``container``, ``kernel``, ``log``."""

    def __init__(self, path: Path) -> None:
        super().__init__("h1")
        self.path, self.bin = path, path / "bin"
        self.bin.mkdir()
        self.says("unit", ACTIVE)
        self.says("container", RUNS)
        self.says("kernel", "")
        self.says("log", "")
        self._program("systemctl", 'cat "$S/unit"')
        self._program("journalctl", 'case "$*" in *--dmesg*) cat "$S/kernel";; *) cat "$S/log";; esac')
        python = f"env -i PATH=/usr/bin:/bin VLLM_API_KEY={KEY} http_proxy=http://127.0.0.1:9 {quote(sys.executable)}"
        docker = f"""[ ! -e "$S/away" ] || {{ echo 'Cannot connect to the Docker daemon. Is it running?' >&2; exit 1; }}
[ -e "$S/container" ] || {{ echo 'Error: No such container: fleet-qwen' >&2; exit 1; }}
if [ "$1" = inspect ]; then cat "$S/container"; else shift 4; exec {python} "$@"; fi"""
        self._program("docker", docker)

    def says(self, what: str, text: str | None) -> None:
        """From now on; None: there is no such thing."""
        file = self.path / what
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(text)

    def run(self, command: str, stdin: bytes | None = None, *, timeout: float = 60.0) -> Reply:
        """With the host's own programs before the machine's."""
        mine = f"{PREAMBLE}\nPATH={quote(str(self.bin))}:$PATH S={quote(str(self.path))}; export S"
        return super().run(command.replace(PREAMBLE, mine), stdin, timeout=timeout)

    def _program(self, name: str, script: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)


def live_at(talker: Talker, **more: Any) -> Live:
    """The release that the host runs."""
    told: dict[str, Any] = {"vision": True, "max_model_len": talker.length, "model": "Qwen/VL", "quantization": ""}
    return Live("qwen", "r2", talker.url, "vl", **{**told, **more})
