"""One request over HTTP/1.1 as a client of the fleet sends it, and the judgement whether its answer came whole.

Written on asyncio's streams: at fifty requests a second beside the servers on two cores, a client must cost little.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks.load_mix import Ask

CONNECT_SECONDS = 5.0


class Failed(Exception):
    """No whole answer: ``kind`` is one word for counting, ``status`` the HTTP status if there was one."""

    def __init__(self, kind: str, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.kind, self.status = kind, status


@dataclass
class Got:
    """A whole answer: its tokens, and when its first and its last byte came (``time.monotonic``)."""

    tokens: int
    first: float
    last: float


@dataclass
class Endpoint:
    """A gateway, by its URL."""

    url: str
    key: str = ""
    tls: ssl.SSLContext | None = None
    host: str = field(init=False)
    port: int = field(init=False)
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        self.host, self.port = parts.hostname or "", parts.port or (443 if secure else 80)
        self.prefix = parts.path.rstrip("/")
        if secure and self.tls is None:
            self.tls = ssl.create_default_context()


class Connection:
    """A connection that is opened when it is needed, and kept as long as both sides like."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, ask: Ask, *, keep: bool) -> Got:
        """The whole answer.

        Raises:
            Failed: it didn't come, or not whole; the connection is closed.
        """
        try:
            try:
                reader, writer = await self._open()
            except (OSError, asyncio.TimeoutError) as error:
                raise Failed("connect", f"{type(error).__name__}: {error}") from error
            try:
                return await self._exchange(reader, writer, ask, keep=keep)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                raise Failed("cut", f"{type(error).__name__}: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._writer is not None and not self._reader.at_eof():
            return self._reader, self._writer
        self.close()  # the other side may have closed it meanwhile
        opening = asyncio.open_connection(self.endpoint.host, self.endpoint.port, ssl=self.endpoint.tls)
        self._reader, self._writer = reader, writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
        return reader, writer

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask, *, keep: bool
    ) -> Got:
        where = self.endpoint
        head = [
            f"POST {where.prefix}{ask.path} HTTP/1.1", f"Host: {where.host}:{where.port}",
            "Content-Type: application/json", f"Content-Length: {len(ask.body)}",
        ]  # fmt: skip
        if where.key:
            head.append(f"Authorization: Bearer {where.key}")
        if not keep:
            head.append("Connection: close")
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + ask.body)
        await writer.drain()
        status, headers = await _head(reader)
        body, first = await _body(reader, headers)
        last = time.monotonic()
        if not keep or headers.get("connection", "").lower() == "close":
            self.close()
        if status != 200:
            raise Failed(f"status-{status}", body[:300].decode(errors="replace"), status)
        return Got(stream_tokens(body) if ask.stream else whole_tokens(body), first, last)


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise Failed("wrong", f"no status line: {lines[0][:80]!r}")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> tuple[bytes, float]:
    """The whole body, and when its first bytes came."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        if "content-length" not in headers:
            raise Failed("wrong", "an answer that doesn't say where it ends")
        body = await reader.readexactly(int(headers["content-length"]))
        return body, time.monotonic()
    pieces: list[bytes] = []
    first = 0.0
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        piece = await reader.readexactly(size + 2)
        if not size:
            return b"".join(pieces), first
        first = first or time.monotonic()
        pieces.append(piece[:-2])


def whole_tokens(body: bytes) -> int:
    """How many tokens an answer in one piece has.

    Raises:
        Failed: it isn't whole.
    """
    try:
        answer = json.loads(body)
        (choice,) = answer["choices"]
        said = choice["message"]["content"] if "message" in choice else choice["text"]
        return _judged(said, [choice["finish_reason"]], answer["usage"])
    except (ValueError, KeyError, TypeError) as error:
        raise Failed("wrong", f"{type(error).__name__}: {error} in {body[:200]!r}") from error


def stream_tokens(body: bytes) -> int:
    """How many tokens a streamed answer has.

    Raises:
        Failed: it isn't whole: no end, no reason why it ended, no counts.
    """
    events = [event for event in body.split(b"\n\n") if event]
    if not events or events[-1] != b"data: [DONE]":
        raise Failed("wrong", f"a stream without its end: …{body[-200:]!r}")
    said, reasons, usage = "", [], None
    try:
        for event in events[:-1]:
            chunk: dict[str, Any] = json.loads(event.removeprefix(b"data: "))
            if "error" in chunk:
                raise Failed("wrong", f"an error in the stream: {chunk['error']}")
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                said += (choice["delta"].get("content") or "") if "delta" in choice else choice["text"]
                reasons.append(choice.get("finish_reason"))
        return _judged(said, reasons, usage)
    except (ValueError, KeyError, TypeError) as error:
        raise Failed("wrong", f"{type(error).__name__}: {error} in {body[-200:]!r}") from error


def _judged(said: str, reasons: list[str | None], usage: Any) -> int:
    given = [reason for reason in reasons if reason]
    if len(given) != 1 or given[0] not in ("stop", "length"):
        raise Failed("wrong", f"it ends for {given or 'no reason'}")
    tokens = int(usage["completion_tokens"])
    if not said and tokens > 1:  # one token may be the end itself
        raise Failed("wrong", f"{tokens} tokens and no text")
    return tokens
