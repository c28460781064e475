"""A hub for tests that speaks as ModelScope and Hugging Face do, over files held in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.server import Request, Response


def sha256(data: bytes) -> str:
    """The hash as hubs give it."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Hub:
    """Models as path → bytes. ``faults`` is path → what the next requests for its bytes get instead, in order."""

    models: dict[str, dict[str, bytes]]
    token: str = ""
    hashes: bool = True
    faults: dict[str, list[Response]] = field(default_factory=dict)
    before: Callable[[Request], None] = lambda _: None

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        self.before(request)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Response(b"{}", 401)
        for model, files in self.models.items():
            if request.path == f"/api/v1/models/{model}/repo/files" and request.query["Revision"] == "master":
                return _json({"Code": 200, "Success": True, "Data": {"Files": self._modelscope(files)}})
            if request.path == f"/api/v1/models/{model}/repo":
                return self._blob(files, request.query["FilePath"], request)
            if request.path == f"/api/models/{model}/revision/main":
                return _json({"id": model, "sha": "c0ffee"})
            if request.path == f"/api/models/{model}/tree/c0ffee":
                return _json([self._huggingface(path, data) for path, data in files.items()])
            if request.path.startswith(f"/{model}/resolve/"):
                return self._blob(files, request.path.split("/", 5)[5], request)
        return _json({"Code": 404, "Message": "record not found", "Success": False}, 404)

    def _modelscope(self, files: dict[str, bytes]) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = [{"Type": "tree", "Path": "a-directory", "Size": 0}]
        for path, data in files.items():
            row: dict[str, object] = {"Type": "blob", "Path": path, "Name": path, "Size": len(data)}
            rows.append({**row, "Sha256": sha256(data)} if self.hashes else row)
        return rows

    def _huggingface(self, path: str, data: bytes) -> dict[str, object]:
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        row: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": oid}
        return {**row, "lfs": {"oid": sha256(data)}} if path.endswith(".safetensors") else row

    def _blob(self, files: dict[str, bytes], path: str, request: Request) -> Response:
        if path not in files:
            return Response(status=404)
        if self.faults.get(path):
            return self.faults[path].pop(0)
        data, asked = files[path], request.headers.get("Range", "")
        if asked.startswith("bytes="):
            start, _, end = asked.removeprefix("bytes=").partition("-")
            piece = data[int(start) : int(end) + 1 if end else None]
            headers = {"Content-Range": f"bytes {start}-{int(start) + len(piece) - 1}/{len(data)}"}
            return Response(piece, 206, headers)
        return Response(data)


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value).encode(), status, {"Content-Type": "application/json"})
