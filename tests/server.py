"""A small web server for tests: routes to functions, every request remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """What came in; ``query`` holds the last value of each key."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Response:
    """What goes out; ``cut`` ends the connection after so many bytes of the body."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


Answer = Callable[[Request], Response]


@dataclass
class Server:
    """Where it listens, and what it was asked."""

    port: int
    asked: list[Request] = field(default_factory=list)


@contextmanager
def serve(answer: Answer, tls: SSLContext | None = None) -> Iterator[Server]:
    """Serve ``answer`` on this machine while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query, headers = dict(parse_qsl(url.query)), dict(self.headers.items())
            request = Request(self.command, unquote(url.path), query, headers, body)
            server.asked.append(request)
            given = answer(request)
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            self.wfile.write(given.body if given.cut is None else given.body[: given.cut])
            self.close_connection = self.close_connection or given.cut is not None

        do_POST = do_GET  # noqa: N815 — http.server's own name

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that turns away (a refused certificate) is no news."""

    listening = Quiet(("127.0.0.1", 0), Handler)
    if tls:
        listening.socket = tls.wrap_socket(listening.socket, server_side=True)
    server = Server(listening.server_address[1])
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
