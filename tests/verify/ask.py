"""Ask an instance's server from inside its container, where its key is: ``python3 - URL SERVED_NAME VISION``.

Prints one JSON object: what was asked → {status, body}; under ``without_key``, path → status. The key isn't printed.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
import urllib.error
import urllib.request
import zlib
from typing import Any

KEY = os.environ.get("VLLM_API_KEY", "")
URL, NAME, VISION = sys.argv[1], sys.argv[2], sys.argv[3] == "yes"
#: What is asked where the server doesn't describe itself (--disable-fastapi-docs).
PATHS: dict[str, dict[str, Any]] = {
    "/v1/models": {"get": {}},
    "/v1/chat/completions": {"post": {}},
    "/v1/completions": {"post": {}},
}
#: What vLLM lets in only with its key, as measured on 0.32; its other paths, /invocations too, are open to all.
GUARDED = ("/v1/", "/inference/")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy of the environment


def ask(path: str, body: object = None, key: str = KEY, method: str = "", timeout: float = 20) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = "Bearer " + key
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(URL + path, data=data, headers=headers, method=method or None)
    try:
        with DIRECT.open(request, timeout=timeout) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    except (OSError, ValueError) as error:
        return {"status": 0, "body": str(error)}
    try:
        return {"status": status, "body": json.loads(text)}
    except ValueError:
        return {"status": status, "body": text.decode(errors="replace")[:500]}


def chat(content: object) -> dict[str, Any]:
    message = {"role": "user", "content": content}
    body = {"model": NAME, "messages": [message], "max_tokens": 1, "temperature": 0}
    return ask("/v1/chat/completions", body, timeout=40)


def png(side: int = 56) -> str:
    """A grey square: the smallest whole PNG of that side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x80" * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


def without_key(described: object) -> dict[str, int]:
    """Every path that must have the key, with an empty body: where the guard is missing, nothing runs."""
    found = {}
    paths = described.get("paths") if isinstance(described, dict) else None
    for path, methods in sorted((paths or PATHS).items()):
        if path.startswith(GUARDED):
            method = next(iter(methods)).upper()
            asked = path.replace("{", "").replace("}", "")
            for key, words in (("", ""), ("not-the-key", " with a wrong key")):
                status = ask(asked, None if method == "GET" else {}, key, method)["status"]
                found[f"{method} {path}{words}"] = status
    return found


answers = {"health": ask("/health")}
if answers["health"]["status"] == 0:  # each further question would wait out its own time
    unasked = {"status": 0, "body": "not asked: /health doesn't answer"}
    answers.update(models=unasked, text=unasked, **({"image": unasked} if VISION else {}))
else:
    answers.update(models=ask("/v1/models"), text=chat("Say yes."))
    if VISION:
        picture = {"type": "image_url", "image_url": {"url": png()}}
        answers["image"] = chat([picture, {"type": "text", "text": "What is this?"}])
if KEY and answers["health"]["status"] != 0:
    answers["without_key"] = without_key(ask("/openapi.json")["body"])
sys.stdout.write(json.dumps(answers))
