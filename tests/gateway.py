"""A gateway for real: HAProxy on loopback with small servers behind it, run as systemd would run it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fleet.gateway.config import Spec
from fleet.gateway.haproxy import HaproxyGateway
from fleet.resources.gateway import GatewayConfig, GatewayRunning, Places
from fleet.secret import Secret
from fleet.settings import HostSettings
from fleet.target import TEMPLATES
from fleet.transport.local import LocalTransport
from tests.local_host import LocalHost

HAPROXY = os.environ.get("FLEET_TEST_HAPROXY") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
#: Why tests with a real HAProxy can't run here; empty where they can.
WHY_NOT = (
    "no haproxy here (apt-get install haproxy socat)"
    if not HAPROXY or not shutil.which("socat")
    else ""
    if os.geteuid() == 0
    else "HAProxy is started as root"
)
MODEL = "Qwen2.5-VL-7B"


def free_port() -> int:
    """A port on loopback that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server(ThreadingHTTPServer):
    """A model's server as the gateway sees one: health, models, answers whole or token by token, one key."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, name: str, key: str = "", port: int = 0) -> None:
        self.name = name
        self.key = key
        self.model = MODEL
        self.healthy = True
        self.tokens = 20
        self.pause = 0.05
        self.served: list[str] = []
        super().__init__(("127.0.0.1", port), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who went away went away."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _say(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        told = self.server
        if self.path == "/health":
            return self._say(200 if told.healthy else 503, {})
        if told.key and self.headers.get("Authorization") != f"Bearer {told.key}":
            return self._say(401, {"error": "Unauthorized"})
        return self._say(200, {"data": [{"id": told.model}], "path": self.path})

    def do_POST(self) -> None:
        told = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if told.key and self.headers.get("Authorization") != f"Bearer {told.key}":
            return self._say(401, {"error": "Unauthorized"})
        told.served.append(self.path)
        asked = json.loads(body) if body.startswith(b"{") else {}
        if not asked.get("stream"):
            seen = {
                "server": told.name,
                "length": len(body),
                "key": self.headers.get("Authorization"),
                "path": self.path,
            }
            return self._say(int(asked.get("status", 200)), seen)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(told.tokens):
            line = f"data: {number}\n\n".encode()
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
            time.sleep(told.pause)
        self.wfile.write(b"0\r\n\r\n")
        return None


class Gateway:
    """HAProxy below a directory, its tool, and who stands behind it."""

    def __init__(self, path: Path, shell: tuple[str, ...] = ("sh",), **told: Any) -> None:
        self.host = LocalHost(path, shell)
        self.places = Places(*(str(path / name) for name in ("etc", "servers", "run", "tool")))
        (path / "run").mkdir()
        tool = path / "tool"
        settled = "export FLEET_GATEWAY_SETTLED=3\n"
        settled += f"export FLEET_GATEWAY_STATE={self.places.servers} FLEET_GATEWAY_RUN={self.places.run}\n"
        text = (TEMPLATES / "gateway" / "gateway").read_text()
        real = path / "gateway.sh"
        real.write_text(text)
        tool.write_text(f'#!/bin/sh\n{settled}exec {" ".join(shell)} {real} "$@"\n')
        tool.chmod(0o755)
        self.port, self.stats_port = free_port(), free_port()
        self.told = {"port": self.port, "stats_port": self.stats_port, "slow_start": 0, "listen": "127.0.0.1", **told}
        self.peers: dict[str, HostSettings] = {}
        self.kept = 0  #: seconds that a reload waits where servers move
        self.process: subprocess.Popen[bytes] | None = None
        self.log = path / "haproxy.log"
        self.host.program(
            "systemctl",
            f"""case "$1" in reload) {HAPROXY} -c -q -C {path}/etc/current -f haproxy.cfg &&
{tool} reload "$(cat {path}/run/pid)";; esac""",
        )
        if "FLEET_TEST_HAPROXY" in os.environ:  # another version than this machine's
            self.host.program("haproxy", f'exec {HAPROXY} "$@"')
        self.host.program("journalctl", f"tail -n 20 {self.log}")
        self.balancer = HaproxyGateway(LocalTransport("g1", shell=shell), tool=str(tool))

    def behind(
        self, *servers: Server, models: Mapping[str, str] | None = None, ports: Mapping[str, int] | None = None,
        **keys: str,
    ) -> None:  # fmt: skip
        """Say in the inventory that these servers are there, each on a host of its name.

        ``keys`` and ``ports`` say others than they have.
        """
        for server in servers:
            key = keys.get(server.name, server.key)
            port = (ports or {}).get(server.name, server.port)
            instance = {
                "name": "vl", "model": "m/m", "served_name": (models or {}).get(server.name, MODEL),
                "listen": "0.0.0.0", "port": port, **({"api_key": Secret(key)} if key else {}),
            }  # fmt: skip
            self.peers[server.name] = HostSettings.model_validate({"instances": [instance], "address": "127.0.0.1"})

    def resources(self) -> tuple[GatewayConfig, GatewayRunning]:
        settings = HostSettings.model_validate({"gateway": self.told})
        return GatewayConfig(Spec.of(settings, self.peers), self.places), GatewayRunning(self.places, self.kept)

    def provision(self) -> None:
        """Bring the configuration about, and start HAProxy or reload it."""
        config, running = self.resources()
        if config.diff(self.host.see(config)):
            self.host.settle(config)
        if self.process is None:
            self.start()
        if running.diff(self.host.see(running)):
            self.host.settle(running)

    def start(self) -> None:
        """As the unit does."""
        (self.host.path / "run" / "state").unlink(missing_ok=True)
        assert HAPROXY
        words = [
            HAPROXY,
            "-Ws",
            "-C",
            f"{self.places.root}/current",
            "-f",
            "haproxy.cfg",
            "-p",
            f"{self.places.run}/pid",
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        until(lambda: self.tool("list").returncode == 0, "HAProxy answers")
        self.sweep()

    def kill(self) -> None:
        """Kill -9: the master and its workers."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def tool(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.places.tool, *words], capture_output=True, text=True, timeout=60, check=False)

    def sweep(self) -> None:
        done = self.tool("sweep")
        assert done.returncode == 0, done

    def sweep_until(self, so: Callable[[], bool], what: str, seconds: float = 30) -> None:
        def look() -> bool:
            self.sweep()
            return so()

        until(look, what, seconds, every=0.5)

    def ask(
        self, path: str = "/v1/chat/completions", body: bytes | None = b"{}", *, key: str = "", authorization: str = ""
    ) -> tuple[int, Any]:
        """Status and answer of one request; ``body`` None is a GET."""
        authorization = authorization or (f"Bearer {key}" if key else "")
        headers = {"Authorization": authorization} if authorization else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def tokens(self, key: str = "") -> Iterator[tuple[float, bytes]]:
        """One streamed answer: when each token came."""
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with urllib.request.urlopen(urllib.request.Request(url, b'{"stream": true}', headers), timeout=60) as answer:
            while line := answer.readline():
                if line.strip():
                    yield time.monotonic(), line.strip()


def until(so: Callable[[], bool], what: str, seconds: float = 20, every: float = 0.1) -> None:
    """Wait for it.

    Raises:
        AssertionError: it never came to be so.
    """
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, f"not after {seconds} s: {what}"
        time.sleep(every)


@contextmanager
def load(gateway: Gateway, key: Callable[[], str], clients: int = 4) -> Iterator[list[tuple[int, Any]]]:
    """Requests as fast as they are answered, until the block ends: all their answers."""
    answers: list[tuple[int, Any]] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answers.append(gateway.ask(key=key()))
            except OSError as error:
                answers.append((0, repr(error)))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)
