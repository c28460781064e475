"""Ask an instance's server from inside its container, where its key is. Python 3.8 and its standard library.

::

    python3 - JOB      JOB is JSON: url, name, what (functions below), seconds, and what those take: each, prompts, wait

Prints one JSON object: what was asked → what came of it. The key isn't printed, and no proxy is used.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from typing import Any

JOB: dict[str, Any] = json.loads(sys.argv[1])
KEY = os.environ.get("VLLM_API_KEY", "")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy of the environment
#: Errors of a connection that is refused, cut or silent, and of an answer that is none.
BROKEN = (OSError, ValueError, http.client.HTTPException)
#: In answers to speed: how many streams, and tokens in each.
STREAMS, TOKENS = 5, 64
#: Seconds after which two streams are enough.
ENOUGH = 30
#: Health that fails so many times in a row is no moment's weakness.
IN_A_ROW = 3
#: What waits or runs, in vLLM's spelling and in Prometheus' older one; V0 also knows requests that it swapped out.
BUSY = re.compile(r"^vllm[:_]num_requests_(?:running|waiting|swapped)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


def opened(path: str, body: object = None, timeout: float = 20) -> Any:
    """The answer to a request with our key; with ``body`` it is a POST."""
    headers = {"Content-Type": "application/json"}
    if KEY:
        headers["Authorization"] = "Bearer " + KEY
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(JOB["url"] + path, data=data, headers=headers)  # noqa: S310 — http, as we made it
    return DIRECT.open(request, timeout=timeout)


def ask(path: str, body: object = None, timeout: float = 20, most: int = 500) -> dict[str, Any]:
    """Status (0: none came), seconds, and body of one answer; of one that isn't JSON ``most`` characters."""
    started = time.monotonic()
    try:
        with opened(path, body, timeout) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    except BROKEN as error:
        status, text = 0, str(error).encode()
    seconds = time.monotonic() - started
    try:
        return {"status": status, "seconds": seconds, "body": json.loads(text)}
    except ValueError:
        return {"status": status, "seconds": seconds, "body": text.decode(errors="replace")[:most]}


def port() -> dict[str, Any]:
    """Whether somebody takes a connection there."""
    where = urllib.parse.urlsplit(JOB["url"])
    try:
        socket.create_connection((where.hostname or "", where.port or 80), timeout=5).close()
    except OSError as error:
        return {"status": 0, "body": str(error)}
    return {"status": 200, "body": ""}


def health() -> dict[str, Any]:
    """What it says of itself."""
    return ask("/health", timeout=10)


def models() -> dict[str, Any]:
    """What it serves."""
    return ask("/v1/models")


def text() -> dict[str, Any]:
    """A chat of words, one token long."""
    return ask("/v1/chat/completions", chat("Say yes.", 1), timeout=JOB["each"])


def image() -> dict[str, Any]:
    """A chat about a picture, one token long."""
    return ask("/v1/chat/completions", chat(content("What is this?", GREY), 1), timeout=JOB["each"])


def answers() -> dict[str, Any]:
    """The first 16 greedy tokens of each prompt that fits, as text; under ``failed``, why one wasn't answered."""
    length = longest()
    found: dict[str, Any] = {"tokens": {}, "failed": {}}
    for prompt in JOB["prompts"]:
        if length and len(prompt["text"]) + 128 > length:  # a token is a letter at least, and templates add their own
            continue
        # Without logprobs: where nobody else asks for them they are a path of their own through the engine, compiled
        # when first asked for, and vLLM 0.32 died of it on a machine whose compiler didn't work.
        body = chat(content(prompt["text"], prompt.get("image")), 16)
        answer = ask("/v1/chat/completions", body, timeout=60)
        if answer["status"] == 200:
            found["tokens"][prompt["id"]] = tokens(answer["body"])
        else:
            found["failed"][prompt["id"]] = answer
            if answer["status"] == 0:  # each further question would wait out its own time
                break
    return found


def tokens(body: Any) -> list[str]:
    """The answer's words and signs. Its text is that of its tokens, and is written alike by all versions of vLLM."""
    message = body["choices"][0].get("message") or {}
    said = message.get("content") or message.get("reasoning_content") or message.get("reasoning") or ""
    return re.findall(r"\s*[A-Za-z]+|\s*\S|\s+$", said)


def speed() -> list[dict[str, float]]:
    """Seconds to the first token, and tokens a second after it, of a few streamed answers."""
    streams: list[dict[str, float]] = []
    length, until = longest(), time.monotonic() + ENOUGH
    for _ in range(STREAMS):
        if len(streams) > 1 and time.monotonic() > until:  # a slow server's next answer says little more
            break
        seen = stream(length)
        if seen:
            streams.append(seen)
    return streams


def stream(length: int) -> dict[str, float]:
    """One streamed answer; nothing where it broke. It begins with a number, so that no cached prefix answers faster."""
    words = int.from_bytes(os.urandom(4), "big")
    asked = TOKENS if not length else max(1, min(TOKENS, length // 4))
    told = f"Number {words}. " + "Tell a long story about a lighthouse and the sea. " * (8 if length >= 1024 else 1)
    body = {**chat(told, asked), "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
    started, first, last, pieces, counted = time.monotonic(), 0.0, 0.0, 0, 0
    try:
        with opened("/v1/chat/completions", body, timeout=60) as answer:
            for line in answer:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                counted = (event.get("usage") or {}).get("completion_tokens") or counted
                delta = event["choices"][0].get("delta") or {} if event.get("choices") else {}
                if delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"):
                    last = time.monotonic()
                    first = first or last
                    pieces += 1
    except (*BROKEN, KeyError, AttributeError):
        return {}
    if not pieces:
        return {}
    after = max(counted, pieces) - 1  # an event may carry several tokens, and a character may take several
    return {"first": first - started, "pace": after / (last - first) if last > first and after > 0 else 0.0}


def steady() -> dict[str, Any]:
    """Health once a second for ``wait`` seconds: how often it was asked, and what it said when it failed for good."""
    until, asked, failing = time.monotonic() + JOB["wait"], 0, 0
    while True:
        answer = ask("/health", timeout=5)
        asked, failing = asked + 1, 0 if answer["status"] == 200 else failing + 1
        if failing >= IN_A_ROW:
            return {"asked": asked, "failed": answer}
        left = until - time.monotonic()
        if left <= 0 and not failing:
            return {"asked": asked, "failed": None}
        time.sleep(min(1.0, max(0.2, left)))


def busy() -> dict[str, Any]:
    """How many requests run and wait; asked again, for ``wait`` seconds at most, until there are none twice running."""
    until, idle = time.monotonic() + JOB["wait"], 0
    while True:
        answer = ask("/metrics", timeout=10, most=1 << 22)  # vLLM has tens of kB of them, ours some kB in
        counts = BUSY.findall(answer["body"] if isinstance(answer["body"], str) else "")
        if answer["status"] != 200 or not counts:
            return {"count": None, "status": answer["status"], "body": str(answer["body"])[:200]}
        count = int(sum(float(number) for number in counts))
        idle = 0 if count else idle + 1
        if idle == 2 or time.monotonic() >= until:
            return {"count": count}
        time.sleep(0.25)


def longest() -> int:
    """The server's longest context; 0 where it doesn't say."""
    body = models()["body"]
    for model in body.get("data") or () if isinstance(body, dict) else ():
        if model.get("id") == JOB["name"]:
            return int(model.get("max_model_len") or 0)
    return 0


def chat(said: object, most: int) -> dict[str, Any]:
    """A request for a greedy answer of at most so many tokens."""
    message = {"role": "user", "content": said}
    return {"model": JOB["name"], "messages": [message], "max_tokens": most, "temperature": 0}


def content(words: str, colours: object = None) -> object:
    """A message's content: plain text, or a picture and text."""
    if not colours:
        return words
    return [{"type": "image_url", "image_url": {"url": png(colours)}}, {"type": "text", "text": words}]


GREY = [[128, 128, 128]]


def png(colours: Any, side: int = 112) -> str:
    """A square of upright stripes in these colours (red, green, blue), as a data: URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"".join(bytes(colours[x * len(colours) // side]) for x in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * side)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


class TimeUp(BaseException):
    """What is being asked took too long: no ``except`` of ours may take it for an answer."""


def main() -> None:
    """Ask one after another; what wasn't answered in time isn't in the answer."""

    def ring(*_: object) -> None:
        raise TimeUp

    # `docker exec` doesn't end what it began when it is ended itself: this script ends by its own clock.
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(max(1, int(JOB["seconds"])))
    functions = (port, health, models, text, image, answers, speed, steady, busy)
    known = {function.__name__: function for function in functions}
    found: dict[str, Any] = {}
    try:
        for what in JOB["what"]:
            found[what] = known[what]()
    except TimeUp:
        pass
    signal.alarm(0)
    sys.stdout.write(json.dumps(found))


main()
