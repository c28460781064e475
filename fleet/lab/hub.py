"""A hub that speaks ModelScope's download protocol over a directory, with faults on demand.

A program of its own: ``python -m fleet.lab.hub ROOT ADDRESS PORT``. ``ROOT/<owner>/<name>/…`` are the models.
``POST /_fault`` sets faults: ``{"<owner>/<name>/<file>": {"cut": N} | {"corrupt": 1} | {"status": 503}, …}`` with
``times`` for how often, ``"rate": BYTES`` a second, ``"token": "…"``. ``GET /_log`` tells what was asked.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fleet.lab.files import Server

_LFS_BYTES = 100 * 1024
_CHUNK = 64 * 1024


class Hub(Server):
    """The server with what it knows: files' hashes, faults, and the log of requests."""

    def __init__(self, root: Path, address: str, port: int) -> None:
        super().__init__((address, port), Handler)
        self.root = root
        self.faults: dict[str, Any] = {}
        self.log: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self._hashes: dict[tuple[str, int, int], str] = {}

    def sha256(self, path: Path) -> str:
        """A file's hash, computed once for each of its states."""
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if key not in self._hashes:
            total = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    total.update(block)
            self._hashes[key] = total.hexdigest()
        return self._hashes[key]

    def fault(self, name: str) -> dict[str, Any]:
        """The fault that is due for this file now, used up once."""
        with self.lock:
            found = self.faults.get(name)
            if not found or found.get("times", 1) <= 0:
                return {}
            found["times"] = found.get("times", 1) - 1
            return dict(found)


class Handler(BaseHTTPRequestHandler):
    """ModelScope's listing and files."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's word
        """Keep stderr for what goes wrong."""

    def do_GET(self) -> None:
        """A listing, a file, the log."""
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        path = unquote(url.path)
        if path == "/_log":
            return self._json({"log": self.server.log})
        with self.server.lock:
            self.server.log.append({"path": self.path, "range": self.headers.get("Range", "")})
        token = self.server.faults.get("token")
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            return self._error(401, "unauthorized")
        match = re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)(/repo/files|/repo|/revisions)?", path)
        if not match:
            return self._error(404, "no such route")
        repo, what = match[1], match[2]
        base = self.server.root / repo
        if not base.is_dir() or ".." in repo:
            return self._error(404, "record not found")
        if what == "/repo/files":
            return self._ok({"Files": self._files(base)})
        if what == "/revisions":
            return self._ok({"RevisionMap": {"Branches": [{"Revision": "master", "CreatedAt": 1}], "Tags": []}})
        if what is None:
            return self._ok({"Path": repo.split("/")[0], "Name": repo.split("/")[1], "Revision": "master"})
        if query.get("Revision", "master") != "master":
            return self._error(404, "revision not found")
        file = (base / query.get("FilePath", "")).resolve()
        if not file.is_file() or base.resolve() not in file.parents:
            return self._error(404, "file not found")
        return self._blob(file, f"{repo}/{query['FilePath']}")

    do_HEAD = do_GET  # noqa: N815 — the base class's word

    def do_POST(self) -> None:
        """Set the faults, and begin a new log."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path != "/_fault":
            return self._error(404, "no such route")
        with self.server.lock:
            self.server.faults = body
            self.server.log.clear()
        return self._json({})

    def _files(self, base: Path) -> list[dict[str, Any]]:
        return [
            {
                "Type": "blob", "Name": file.name, "Path": str(file.relative_to(base)), "Size": file.stat().st_size,
                "Sha256": self.server.sha256(file), "IsLFS": file.stat().st_size >= _LFS_BYTES, "Mode": "100644",
                "Revision": "master", "CommittedDate": 1700000000,
            }
            for file in sorted(base.rglob("*")) if file.is_file()
        ]  # fmt: skip

    def _blob(self, file: Path, name: str) -> None:
        size, fault = file.stat().st_size, {} if self.command == "HEAD" else self.server.fault(name)
        if fault.get("status"):
            return self._error(int(fault["status"]), "injected")
        start, end = 0, size - 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and size:
            start, end = int(asked[1]), min(int(asked[2] or end), end)
            if start >= size:
                return self._error(416, "no such range")
        self.send_response(206 if asked and size else 200)
        if asked and size:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("Content-Length", str(end - start + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Linked-ETag", f'"{self.server.sha256(file)}"')
        self.end_headers()
        if self.command == "HEAD":
            return None
        return self._send(file, start, end - start + 1, fault)

    def _send(self, file: Path, start: int, length: int, fault: dict[str, Any]) -> None:
        rate, sent = float(self.server.faults.get("rate") or 0), 0
        with file.open("rb") as source:
            source.seek(start)
            while sent < length:
                block = source.read(min(_CHUNK, length - sent))
                if fault.get("corrupt") and sent == 0:
                    block = bytes([block[0] ^ 0xFF]) + block[1:]
                if "cut" in fault and sent + len(block) > fault["cut"]:
                    self.wfile.write(block[: fault["cut"] - sent])
                    self.close_connection = True
                    return
                try:
                    self.wfile.write(block)
                except OSError:
                    self.close_connection = True
                    return
                sent += len(block)
                if rate:
                    time.sleep(len(block) / rate)

    def _ok(self, data: object) -> None:
        self._json({"Code": 200, "Data": data, "Message": "success", "RequestId": "lab", "Success": True})

    def _error(self, code: int, words: str) -> None:
        self._json({"Code": code, "Message": words, "Success": False, "RequestId": "lab"}, code)

    def _json(self, value: object, code: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    Hub(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])).serve_forever()
