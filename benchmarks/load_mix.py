"""What the load asks: chats, streamed or not, some with images, and plain completions; made once, drawn by weight."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

#: Kind → how many of a hundred.
MIX: Final[Mapping[str, int]] = {
    "stream": 60, "stream-image": 8, "stream-large-image": 2, "chat": 18, "image": 6, "completion": 6,
}  # fmt: skip
#: Sides of images in pixels; noise in PNG hardly packs, so that 590 is about 1 MB.
SMALL, LARGE = (40, 120), 590
_VARIANTS: Final = 24
_WORDS: Final = "Describe this briefly: the harbour at night, two lamps, a slow boat and rain on the old stone quay. "


@dataclass(frozen=True)
class Ask:
    """One request's body, ready to be sent, and what its answer must be."""

    kind: str
    path: str
    body: bytes
    stream: bool


def make(model: str, *, tokens: int = 16, seed: int = 0, images: bool = True) -> list[list[Ask]]:
    """For each kind of :data:`MIX` some variants."""
    drawn = random.Random(seed)
    large = [_picture(drawn, LARGE) for _ in range(2)] if images else []
    return [
        [_one(kind, model, tokens, drawn, large) for _ in range(2 if "large" in kind else _VARIANTS)]
        for kind in MIX
        if images or "image" not in kind
    ]


def draw(asks: list[list[Ask]], drawn: random.Random) -> Ask:
    """One of them, kinds by their weight."""
    weights = [MIX[variants[0].kind] for variants in asks]
    return drawn.choice(drawn.choices(asks, weights)[0])


def _one(kind: str, model: str, tokens: int, drawn: random.Random, large: list[str]) -> Ask:
    words = f"{drawn.randrange(10**6)}. " + _WORDS * drawn.randint(1, 3)
    stream = kind.startswith("stream")
    request: dict[str, Any] = {"model": model, "max_tokens": drawn.randint(tokens // 2, tokens), "temperature": 0}
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    if kind == "completion":
        return Ask(kind, "/v1/completions", json.dumps({**request, "prompt": words}).encode(), stream)
    content: Any = words
    if "image" in kind:
        url = drawn.choice(large) if "large" in kind else _picture(drawn, drawn.randint(*SMALL))
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": words}]
    body = {**request, "messages": [{"role": "user", "content": content}]}
    return Ask(kind, "/v1/chat/completions", json.dumps(body).encode(), stream)


def _picture(drawn: random.Random, side: int) -> str:
    """Noise as a PNG, as a data: URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + drawn.randbytes(3 * side) for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()
