"""What a model is, read before any of it is pulled: the small files that say so, from its hub, held to their hashes.

They tell sizing the true shapes (a checkpoint that was padded later, a quantisation), where a name tells nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

import requests

from fleet import web
from fleet.errors import LookupFailed
from fleet.secret import Secret
from fleet.target import Manifest, ModelFile
from fleet.weights import hub

NAMES: Final = ("config.json", "preprocessor_config.json")
#: Bytes: published ones have 1 to 60 KB. A larger one isn't fetched, and the model not judged by it.
MOST: Final = 1 << 20


def missing(manifest: Manifest) -> list[ModelFile]:
    """The files that the manifest lists and whose content isn't at hand yet."""
    return [
        file for file in manifest.files if file.path in NAMES and file.size <= MOST and file.path not in manifest.texts
    ]


def complete(
    manifest: Manifest, *, session: requests.Session, endpoint: str | None = None, token: Secret | None = None
) -> Manifest:
    """The manifest with the content of these files.

    Raises:
        LookupFailed: the hub is down, or has other bytes by now than the manifest lists.
    """
    base = (endpoint or hub.ENDPOINTS[manifest.source]).rstrip("/")
    if token:
        session.headers["Authorization"] = f"Bearer {token.reveal()}"
    texts = {file.path: _text(manifest, file, base, session) for file in missing(manifest)}
    return replace(manifest, texts={**manifest.texts, **texts})


def _text(manifest: Manifest, file: ModelFile, base: str, session: requests.Session) -> str:
    url = hub.address(manifest.source, base, manifest.model, manifest.revision, file.path)
    answer = web.ask(session, url, what=f"the hub {base}, asked for {file.path},")
    if not answer.ok:
        raise LookupFailed(f"the hub answers {answer.status_code} for {file.path}, which it lists", where=url)
    body = answer.content
    if hashlib.sha256(body).hexdigest() != file.sha256:
        raise LookupFailed(
            f"{file.path} isn't what the hub listed it as", where=url,
            hint="try again; if the revision moved since it was locked, delete its row in models.lock",
        )  # fmt: skip
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise LookupFailed(f"{file.path} is no text", where=url, hint="no server could read this model") from error
