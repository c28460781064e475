"""What the stand-in says: words drawn by the model's files and the prompt, so that the same asks get the same answers.

As greedy answers of one model are alike on all hosts, and another model's are others. The shapes are vLLM's.
"""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TEXT = (
    "the a of lab harbour lamp stone river bridge tower field garden window door road wheel engine wire coin letter "
    "bird horse whale otter fox bear oak elm birch moss fern wave tide storm cloud rain snow frost wind sun moon star "
    "is was has had sees holds turns lights opens closes carries follows finds keeps makes counts hears reads writes "
    "old new small large red green blue white dark bright slow quick near far high low warm cold quiet loud first last "
    "and or but so then here there again never always often once today now still just only very not by on in at from"
)
WORDS = tuple(_TEXT.split())
SIGNS = (",", ".", ";")
#: How long an answer is that nothing cuts: some are shorter than others, as a model's are.
SHORTEST, LONGEST = 12, 40
_FIRST_BYTES = 1 << 20


def identity(model: Path) -> bytes:
    """What tells one model from another: its configuration, and how each of its files of weights begins."""
    found = hashlib.sha256((model / "config.json").read_bytes())
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as stream:
            found.update(file.name.encode() + stream.read(_FIRST_BYTES))
    return found.digest()


def tokens(
    identity: bytes, prompt: bytes, limit: int, *, whole: bool = False, nonsense: str = ""
) -> tuple[list[str], str]:
    """At most ``limit`` tokens (``whole``: as many), and why they end: ``stop`` or ``length``."""
    salt = b"other" if nonsense == "other" else b""
    drawn = random.Random(hashlib.sha256(identity + salt + prompt).digest())
    natural = limit if whole else drawn.randint(SHORTEST, LONGEST)
    count = min(limit, natural)
    reason = "length" if whole or limit < natural else "stop"
    if nonsense == "repeat":
        return ["!"] * count, reason
    said = [f" {drawn.choice(WORDS)}" if drawn.random() < 0.9 else drawn.choice(SIGNS) for _ in range(count)]
    return said, reason


class Answer:
    """The shapes of an answer, whole or in pieces; ``logprobs`` is whether each token is to stand by itself."""

    def __init__(self, chat: bool, model: str, reason: str, *, logprobs: bool = False) -> None:
        self.chat, self.model, self.reason, self.logprobs = chat, model, reason, logprobs
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def head(self, piece: str = ".chunk") -> dict[str, Any]:
        """What every object begins with."""
        kind = f"chat.completion{piece}" if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self, said: Sequence[str], usage: dict[str, int]) -> dict[str, Any]:
        """The answer at once."""
        text = "".join(said)
        body: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choice = {"index": 0, **body, "logprobs": self._logprobs(said), "finish_reason": self.reason}
        return {**self.head(""), "choices": [choice], "usage": usage}

    def role(self) -> dict[str, Any]:
        """What a streamed chat begins with."""
        delta = {"role": "assistant", "content": ""}
        return {**self.head(), "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}

    def piece(self, text: str, *, last: bool) -> dict[str, Any]:
        """One event of a stream: one token, with the last one why it was that."""
        body: dict[str, Any] = {"delta": {"content": text}} if self.chat else {"text": text}
        reason = self.reason if last else None
        choice = {"index": 0, **body, "logprobs": self._logprobs([text]), "finish_reason": reason}
        return {**self.head(), "choices": [choice]}

    def usage(self, usage: dict[str, int]) -> dict[str, Any]:
        """The event with the counts, after the last token."""
        return {**self.head(), "choices": [], "usage": usage}

    def _logprobs(self, said: Sequence[str]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        if not self.chat:
            return {
                "text_offset": [sum(map(len, said[:n])) for n in range(len(said))], "tokens": list(said),
                "token_logprobs": [-0.5] * len(said), "top_logprobs": [{token: -0.5} for token in said],
            }  # fmt: skip
        return {
            "content": [
                {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []} for token in said
            ]
        }
