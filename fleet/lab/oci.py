"""Container images without Docker: layers streamed into a registry over its HTTP API, then a config and a manifest."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import requests

from fleet.lab.machine import LabError

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
#: Not compressed: on a wire inside one machine, packing costs more than it saves, here and on every host that pulls.
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_TIMEOUT: Final = (10, 600)
_EPOCH: Final = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class Layer:
    """A layer that the registry holds: its digest, and its size in bytes."""

    digest: str
    size: int


class Registry:
    """One repository of a registry, reached over TLS by the CA in ``ca``."""

    def __init__(self, registry: str, repository: str, ca: Path) -> None:
        self._base = f"https://{registry}/v2/{repository}"
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of this machine leads out of the lab
        self._session.verify = str(ca)

    def has_image(self, tag: str) -> bool:
        """Whether there is an image of that tag, with all of its layers."""
        answer = self._session.get(f"{self._base}/manifests/{tag}", headers={"Accept": _MANIFEST}, timeout=_TIMEOUT)
        if answer.status_code == 404:
            return False
        manifest = _checked(answer).json()
        return all(self.has_blob(layer["digest"]) for layer in [manifest["config"], *manifest["layers"]])

    def has_blob(self, digest: str) -> bool:
        """Whether the registry holds it."""
        return self._session.head(f"{self._base}/blobs/{digest}", timeout=_TIMEOUT).status_code == 200

    def push_tree(self, root: Path, *, exclude: Sequence[str] = ()) -> Layer:
        """Push a directory as a layer: its files in order of their names, times and (save in ``root``) owners kept out.

        Raises:
            LabError: tar or the registry failed.
        """
        words = ["tar", "--create", "--file=-", "--sort=name", "--mtime=@1767225600", "--numeric-owner", "--format=gnu",
                 *(f"--exclude={pattern}" for pattern in exclude), "--directory", str(root), "."]  # fmt: skip
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tar:
            layer = self._push(_blocks(tar))
        if tar.returncode:
            raise LabError(f"tar of {root} ended with {tar.returncode}", where="lab.up")
        return layer

    def push_image(self, tag: str, layers: Sequence[Layer], config: dict[str, Any]) -> None:
        """Put the layers together under ``tag``; ``config`` is what Docker calls Config (Env, Cmd, …)."""
        whole = {
            "architecture": "amd64", "os": "linux", "created": _EPOCH, "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "history": [{"created": _EPOCH, "created_by": "lab"} for _ in layers],
        }  # fmt: skip
        about = self._push(iter([json.dumps(whole).encode()]))
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, **asdict(about)},
            "layers": [{"mediaType": _LAYER, **asdict(layer)} for layer in layers],
        }
        body = json.dumps(manifest).encode()
        headers = {"Content-Type": _MANIFEST}
        _checked(self._session.put(f"{self._base}/manifests/{tag}", data=body, headers=headers, timeout=_TIMEOUT))

    def _push(self, blocks: Iterator[bytes]) -> Layer:
        """A blob whose digest is known only when all of it has passed."""
        started = _checked(self._session.post(f"{self._base}/blobs/uploads/", timeout=_TIMEOUT))
        digest, size = hashlib.sha256(), 0

        def passing() -> Iterator[bytes]:
            nonlocal size
            for block in blocks:
                digest.update(block)
                size += len(block)
                yield block

        headers = {"Content-Type": "application/octet-stream"}
        sent = self._session.patch(started.headers["Location"], data=passing(), headers=headers, timeout=_TIMEOUT)
        name = f"sha256:{digest.hexdigest()}"
        place = _checked(sent).headers["Location"]
        _checked(self._session.put(place, params={"digest": name}, timeout=_TIMEOUT))
        return Layer(name, size)


def _blocks(tar: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert tar.stdout is not None
    while block := tar.stdout.read(1 << 20):
        yield block


def _checked(answer: requests.Response) -> requests.Response:
    if not answer.ok:
        raise LabError(f"the lab's registry answers {answer.status_code}: {answer.text[:200]}", where="lab.up")
    return answer
