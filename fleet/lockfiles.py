"""images.lock and models.lock: what was looked up once, so that every host gets the same bytes, today and next month.

JSON, one line a file of a model, so that a change reads well in review; the few small files that say what the model is
stand there whole, so that sizing needs no hub. They lie beside the inventory and belong into
version control. What stands there is never replaced unless that is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.errors import LockFileError
from fleet.registry import Found
from fleet.target import Manifest, ModelFile
from fleet.weights.hub import content_id

IMAGES: Final = "images.lock"
MODELS: Final = "models.lock"
_ABOUT: Final = {
    IMAGES: "The digest behind each image's tag, as first looked up. All hosts pull by it. Commit this file.",
    MODELS: "The files (sha256, bytes) of each model's revision, as first looked up. All hosts get these. Commit it.",
}
Models = dict[tuple[str, str], Manifest]


def read_images(directory: Path) -> dict[str, Found]:
    """Image reference → digest and size (bytes, compressed); nothing where there is no file yet.

    Raises:
        LockFileError: the file is damaged.
    """
    path = directory / IMAGES
    try:
        images = _load(path).get("images", {})
        found = {str(ref): Found(str(row["digest"]), int(row.get("size", 0))) for ref, row in images.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path) from error
    for ref, image in found.items():
        if not image.digest.startswith("sha256:") or len(image.digest) != 71:
            raise _damaged(path, f"the digest of {ref} isn't one")
    return found


def write_images(directory: Path, images: Mapping[str, Found]) -> None:
    """Write ``images`` (all of them), whole or not at all."""
    rows = {ref: {"digest": images[ref].digest, "size": images[ref].size} for ref in sorted(images)}
    _store(directory / IMAGES, "images", rows)


def read_models(directory: Path) -> Models:
    """(model, revision) → manifest; nothing where there is no file yet.

    Raises:
        LockFileError: the file is damaged, or a list of files doesn't match its content id.
    """
    path = directory / MODELS
    found: Models = {}
    try:
        for name, row in _load(path).get("models", {}).items():
            model, _, revision = str(name).rpartition("@")
            files = tuple(_file(str(file), str(words)) for file, words in sorted(row["files"].items()))
            texts = {str(file): str(text) for file, text in row.get("texts", {}).items()}
            source, content = str(row["source"]), str(row["content_id"])
            found[model, revision] = Manifest(model, revision, source, content, files, texts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path) from error
    for manifest in found.values():
        if manifest.content_id != content_id(manifest.files):
            raise _damaged(path, f"the files of {manifest.model} don't match their content id")
        hashes = {file.path: file.sha256 for file in manifest.files}
        for name, text in manifest.texts.items():
            if hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest() != hashes.get(name):
                raise _damaged(path, f"the {name} of {manifest.model} doesn't match its hash")
    return found


def write_models(directory: Path, models: Mapping[tuple[str, str], Manifest]) -> None:
    """Write ``models`` (all of them), whole or not at all."""
    rows = {
        f"{model}@{revision}": {
            "source": manifest.source,
            "content_id": manifest.content_id,
            "files": {file.path: f"{file.sha256} {file.size}" for file in manifest.files},
            "texts": dict(sorted(manifest.texts.items())),
        }
        for (model, revision), manifest in sorted(models.items())
    }
    _store(directory / MODELS, "models", rows)


def _file(path: str, words: str) -> ModelFile:
    sha256, size = words.split()
    return ModelFile(path, int(size), sha256)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LockFileError(f"can't be read: {error.strerror}", where=str(path)) from error


def _store(path: Path, key: str, rows: Mapping[str, object]) -> None:
    text = json.dumps({"about": _ABOUT[path.name], key: rows}, indent=2, ensure_ascii=False) + "\n"
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise LockFileError(
            f"can't be written: {error.strerror}", where=str(path), hint="the inventory's directory must be writable"
        ) from error


def _damaged(path: Path, words: str = "this is no lock file, or a damaged one") -> LockFileError:
    return LockFileError(
        words, where=str(path), hint="take it back from version control, or remove it: it is then made anew"
    )
