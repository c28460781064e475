"""A request as the stand-in understands it, or why it doesn't."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

DEFAULT_TOKENS = 16
CHARACTERS_A_TOKEN, TOKENS_AN_IMAGE = 4, 16
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")


class Refused(Exception):
    """A request that vLLM would answer with an error object."""

    def __init__(self, code: int, kind: str, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body = {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


class Prompt:
    """What is asked: its text, its images, and a digest of all of it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.images = 0
        self._digest = hashlib.sha256()
        if "messages" not in request:
            self.text = str(request.get("prompt", ""))
            self._digest.update(self.text.encode())
            return
        if not request["messages"]:
            raise Refused(400, "BadRequestError", "messages must not be empty", "messages")
        texts = []
        for message in request["messages"]:
            content = message["content"] if isinstance(message.get("content"), list) else [message.get("content")]
            self._digest.update(f"\0{message.get('role', '')}\0".encode())
            for part in content:
                if isinstance(part, dict) and part.get("type") == "image_url":
                    self.images += 1
                    self._digest.update(_picture(part))
                    continue
                texts.append(str(part.get("text", "")) if isinstance(part, dict) else str(part or ""))
                self._digest.update(texts[-1].encode())
        self.text = "".join(texts)

    @property
    def digest(self) -> bytes:
        """The same for the same question, and for no other."""
        return self._digest.digest()

    @property
    def tokens(self) -> int:
        """How long it is."""
        return max(1, len(self.text) // CHARACTERS_A_TOKEN) + TOKENS_AN_IMAGE * self.images


def limit(request: dict[str, Any]) -> int:
    """How many tokens the answer may have."""
    return int(request.get("max_tokens") or request.get("max_completion_tokens") or DEFAULT_TOKENS)


def _picture(part: dict[str, Any]) -> bytes:
    """An image's bytes: of a data: URL only, as nothing leads out of the lab."""
    url = part.get("image_url")
    url = str(url.get("url", "")) if isinstance(url, dict) else str(url or "")
    kind, comma, data = url.partition(",")
    if not kind.startswith("data:") or not comma:
        raise Refused(
            400, "BadRequestError", f"Cannot connect to host of {url[:60]!r}: the lab has no way out", "image"
        )
    try:
        bytes_ = base64.b64decode(data)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, "BadRequestError", f"the image isn't base64: {error}", "image") from error
    if not bytes_.startswith(_PICTURES):
        raise Refused(400, "BadRequestError", "cannot identify image file", "image")
    return bytes_
