"""A directory over HTTP: ``python -m fleet.lab.files ROOT ADDRESS PORT``."""

from __future__ import annotations

import functools
import socketserver
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """As Python's own, but it doesn't ask DNS for its own name: the lab's namespaces have none, and it would wait."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind, and go by the address."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's word
        """Keep stderr for what goes wrong."""


if __name__ == "__main__":
    handler = functools.partial(Quiet, directory=sys.argv[1])
    Server((sys.argv[2], int(sys.argv[3])), handler).serve_forever()
