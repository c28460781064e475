"""What a hub says of a model: every file with its size and sha256, as one :class:`Manifest`.

ModelScope and Hugging Face are asked directly, with the two requests that their own clients make. A file that the hub
lists without a sha256 (small ones kept in git) is fetched here once and hashed: what was seen first is what counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

import requests

from fleet import web
from fleet.errors import LookupFailed
from fleet.secret import Secret
from fleet.target import Manifest, ModelFile

ENDPOINTS: Final = {"modelscope": "https://modelscope.cn", "huggingface": "https://huggingface.co"}
#: The largest file (bytes) that is fetched to learn its hash; larger ones without a hash are refused.
MOST_FETCHED: Final = 32 * 2**20
#: ModelScope cuts a listing at this many entries.
_MOST_LISTED: Final = 3000


def content_id(files: Iterable[ModelFile]) -> str:
    """The sha256 (hex) of the list of files: the same id, the same bytes."""
    rows = sorted([file.path, file.size, file.sha256] for file in files)
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def look_up(
    model: str,
    revision: str,
    *,
    source: str,
    session: requests.Session,
    endpoint: str | None = None,
    token: Secret | None = None,
) -> Manifest:
    """All files of ``model`` (``owner/name``) at ``revision``, as the hub lists them now.

    ``master``, which is ModelScope's word, stands for ``main`` at Hugging Face.

    Raises:
        LookupFailed: the hub is down, doesn't have it, refuses us, or lists what can't be trusted.
    """
    base = (endpoint or ENDPOINTS[source]).rstrip("/")
    if token:
        session.headers["Authorization"] = f"Bearer {token.reveal()}"
    lister = _modelscope if source == "modelscope" else _huggingface
    files = tuple(sorted(lister(base, model, revision, session), key=lambda file: file.path))
    if not files:
        raise LookupFailed(f"{base} lists no files for {model}", where=f"{model}@{revision}", hint="check the revision")
    return Manifest(model, revision, source, content_id(files), files)


def address(source: str, base: str, model: str, revision: str, path: str) -> str:
    """Where the bytes of one file are; the revision as :func:`look_up` takes it."""
    if source == "modelscope":
        return f"{base}/api/v1/models/{quote(model)}/repo?Revision={quote(revision, safe='')}&FilePath={quote(path)}"
    branch = "main" if revision == "master" else revision
    return f"{base}/{quote(model)}/resolve/{quote(branch, safe='')}/{quote(path)}"


def _modelscope(base: str, model: str, revision: str, session: requests.Session) -> list[ModelFile]:
    url = f"{base}/api/v1/models/{quote(model)}/repo/files"
    answer = web.ask(session, url, what=f"the hub {base}", params={"Revision": revision, "Recursive": "True"})
    listing = _checked(answer, base, model, revision)
    try:
        rows = [row for row in listing["Data"]["Files"] if row.get("Type") != "tree"]
        listed = [(row.get("Path") or row["Name"], int(row["Size"]), row.get("Sha256") or "") for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise _garbage(base, model) from error
    if len(listing["Data"]["Files"]) >= _MOST_LISTED:
        raise LookupFailed(
            f"{model} has {_MOST_LISTED} files or more, and {base} lists no more than that", where=model,
            hint="this is hardly a model to serve; check its name",
        )  # fmt: skip

    def fetched(path: str, size: int) -> str:
        return _fetched(address("modelscope", base, model, revision, path), path, size, "", session)

    return [ModelFile(_safe(path, model), size, sha256 or fetched(path, size)) for path, size, sha256 in listed]


def _huggingface(base: str, model: str, revision: str, session: requests.Session) -> list[ModelFile]:
    branch = "main" if revision == "master" else revision
    what = f"the hub {base}"
    answer = web.ask(session, f"{base}/api/models/{quote(model)}/revision/{quote(branch, safe='')}", what=what)
    info = _checked(answer, base, model, branch)
    try:
        commit = str(info["sha"])
        url: str | None = f"{base}/api/models/{quote(model)}/tree/{commit}?recursive=true&expand=false"
        rows: list[Any] = []
        while url:  # long listings come in pages, the next one named in the Link header
            answer = web.ask(session, url, what=what)
            rows += _checked(answer, base, model, branch)
            url = answer.links.get("next", {}).get("url")
        listed = [(str(row["path"]), int(row["size"]), row) for row in rows if row["type"] == "file"]
        large = {path: str(row["lfs"]["oid"]) for path, _, row in listed if row.get("lfs")}
        small = {path: str(row["oid"]) for path, _, row in listed if path not in large}
    except (KeyError, TypeError, ValueError) as error:
        raise _garbage(base, model) from error

    def fetched(path: str, size: int) -> str:
        return _fetched(address("huggingface", base, model, commit, path), path, size, small[path], session)

    return [ModelFile(_safe(path, model), size, large.get(path) or fetched(path, size)) for path, size, _ in listed]


def _fetched(url: str, path: str, size: int, git_oid: str, session: requests.Session) -> str:
    """The sha256 of a file that the hub lists without one; held against its size and, where known, its git hash."""
    if size > MOST_FETCHED:
        raise LookupFailed(
            f"the hub gives no sha256 for {path} ({size / 2**20:.0f} MiB): nothing could tell whether it came whole",
            where=url, hint="use another revision, or the other hub (weights.source)",
        )  # fmt: skip
    answer = web.ask(session, url, what=f"the hub, asked for {path},")
    if not answer.ok:
        raise LookupFailed(f"the hub answers {answer.status_code} for {path}, which it lists", where=url)
    body = answer.content
    git = hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
    if len(body) != size or (git_oid and git != git_oid):
        raise LookupFailed(f"{path} came damaged from the hub", where=url, hint="try again")
    return hashlib.sha256(body).hexdigest()


def _checked(answer: requests.Response, base: str, model: str, revision: str) -> Any:
    """The answer's JSON, or what its status means for people."""
    where = f"{model}@{revision}"
    if answer.status_code in (401, 403):
        raise LookupFailed(
            f"{base} refuses us ({answer.status_code}) for {model}", where=where,
            hint="a private or gated model: set weights.token",
        )  # fmt: skip
    if answer.status_code == 404:
        raise LookupFailed(
            f"{base} doesn't have {model} at {revision!r}", where=where, hint="check model and revision on the hub"
        )
    if answer.status_code >= 400:
        raise LookupFailed(
            f"{base} answers {answer.status_code}", where=where, hint="try again later, or set weights.endpoint"
        )
    return web.json_of(answer, what=f"the hub {base}")


def _safe(path: str, model: str) -> str:
    """``path``, if it stays inside the model's directory and can stand on one line."""
    parts: Sequence[str] = PurePosixPath(path).parts
    if (
        not path
        or path.startswith("/")
        or ".." in parts
        or ".fleet" in parts
        or any(c < " " or c == "\\" for c in path)
    ):
        raise LookupFailed(f"the hub lists a file name that isn't safe for {model}: {path!r}", where=model)
    return path


def _garbage(base: str, model: str) -> LookupFailed:
    return LookupFailed(
        f"{base} sent a listing of {model} that isn't one", where=model,
        hint="is weights.endpoint really a hub, and weights.source its kind?",
    )  # fmt: skip
