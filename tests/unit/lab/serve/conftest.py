"""A stand-in that is raised in this process, and how it is asked."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests

from fleet.lab.serve import arguments, server
from fleet.lab.serve.faults import Faults

OPTIONS = Path(arguments.__file__).parents[2] / "sizing" / "data" / "options.json"
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg"  # 1×1, grey
IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}AA"}}


@pytest.fixture(autouse=True)
def options(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the image the list of options lies beside the program."""
    monkeypatch.setattr(arguments, "OPTIONS", OPTIONS)


class Raise(Protocol):
    """Raises a server; its URL."""

    def __call__(self, *words: str, model: bytes = b"m", faults: Faults | None = None) -> str:
        """With these words of the command line, this model's identity, these faults."""


def parse(*words: str) -> argparse.Namespace:
    return arguments.parser().parse_args(["/models/m", *words])


@pytest.fixture
def raise_server() -> Iterator[Raise]:
    raised = []

    def up(*words: str, model: bytes = b"m", faults: Faults | None = None) -> str:
        told = parse("--served-model-name", "qwen", *words)
        found = server.Server("127.0.0.1", 0, server.State(told, "/models/m", 128, identity=model, faults=faults))
        raised.append((found, server.in_background(found)))
        return f"http://127.0.0.1:{found.socket.getsockname()[1]}"

    yield up
    for found, thread in raised:
        found.shutdown()
        thread.join(5)
        found.server_close()


def ask(url: str, path: str, body: dict[str, Any] | None = None, key: str = "sesame") -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        method, headers = ("POST" if body is not None else "GET"), {"Authorization": f"Bearer {key}"}
        return session.request(method, url + path, json=body, headers=headers, timeout=5)


def chat(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"model": "qwen", "messages": [{"role": "user", "content": list(parts) or "hello"}], **more}
