"""GPUs: what a kind is called, what it can compute, and how much of its memory torch sees."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from fleet.errors import CatalogError
from fleet.sizing.data import read

#: What torch doesn't see of an unknown kind's nvidia-smi memory, GiB. Known kinds: 0.26 (V100) to 0.68 (L40S).
DRIVER_SHARE_GIB = 0.6


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU. Memory: ``memory_mib`` as nvidia-smi prints it, ``total_gib`` as torch sees it (2^30 bytes)."""

    name: str
    smi_name: str
    capability: tuple[int, int]
    memory_mib: int
    total_gib: float
    gb_per_s: float | None = None
    tflops_16bit: float | None = None
    nvlink: bool = False
    known: bool = True

    @property
    def sm(self) -> int:
        """The compute capability as one number: 7.5 → 75, 9.0 → 90, 12.0 → 120."""
        return self.capability[0] * 10 + self.capability[1]


def gpu(name: str) -> Gpu:
    """The kind called ``name``: a catalog name (``A100-40GB``) or what nvidia-smi prints (``NVIDIA A100-SXM4-40GB``).

    Raises :class:`CatalogError` with the nearest names for one that isn't in the catalog or means two kinds (``A100``).
    """
    wanted = _key(name)
    found = _by_key().get(wanted)
    if found is not None:
        return found
    starting = sorted({g.name for key, g in _by_key().items() if wanted and key.startswith(wanted)})
    if len(starting) == 1:
        return next(g for g in _by_key().values() if g.name == starting[0])
    if starting:
        raise CatalogError(f"{name!r} means several GPUs", hint=f"say which: {', '.join(starting)}")
    near = difflib.get_close_matches(wanted, list(_by_key()), 3, cutoff=0.4)
    names = ", ".join(dict.fromkeys(_by_key()[key].name for key in near)) or ", ".join(g.name for g in gpus())
    hint = f"the nearest are {names}; any other as nvidia-smi has it: 'NAME, 24564 MiB, 8.9'"
    raise CatalogError(f"no GPU called {name!r} in the catalog", hint=hint)


def from_smi(name: str, memory_mib: int, capability: str, *, reserved_mib: int | None = None) -> Gpu:
    """A GPU from what nvidia-smi says: its ``name``, ``memory.total`` in MiB, ``compute_cap`` as ``8.6``.

    A known kind keeps its catalog row unless the memory differs by more than 2 % (ECC, MIG, a variant); an unknown kind
    is built from the values. ``reserved_mib`` is nvidia-smi's ``memory.reserved``. Raises :class:`CatalogError` for a
    capability that is no number.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)", capability.strip())
    if match is None:
        raise CatalogError(f"{capability!r} is no compute capability", hint="nvidia-smi prints it as 8.6")
    found = _by_key().get(_key(name))
    if found is not None and abs(found.memory_mib - memory_mib) <= 0.02 * found.memory_mib:
        return found
    kept = max(DRIVER_SHARE_GIB, (reserved_mib or 0) / 1024)
    total = max(0.0, memory_mib / 1024 - kept)
    major, minor = int(match.group(1)), int(match.group(2))
    return Gpu(name, name, (major, minor), memory_mib, round(total, 2), known=False)


def from_line(line: str) -> Gpu:
    """A GPU from a line of ``nvidia-smi --query-gpu=name,memory.total,compute_cap --format=csv,noheader``.

    Raises :class:`CatalogError` for a line that isn't one.
    """
    match = re.fullmatch(r"\s*(.+?)\s*,\s*(\d+)\s*(?:MiB)?\s*,\s*(\d+\.\d+)\s*", line)
    if match is None:
        raise CatalogError(f"{line!r} is no line of nvidia-smi", hint="write it as: NVIDIA A10, 23028 MiB, 8.6")
    return from_smi(match.group(1), int(match.group(2)), match.group(3))


@cache
def gpus() -> tuple[Gpu, ...]:
    """Every kind in the catalog, in its order (by generation)."""
    return tuple(_from_row(row) for row in read("gpus.json")["gpus"])


def _from_row(row: Mapping[str, object]) -> Gpu:
    major, minor = str(row["capability"]).split(".")
    names = row["smi"]
    first = str(names[0]) if isinstance(names, list) else ""
    return Gpu(
        name=str(row["name"]),
        smi_name=first,
        capability=(int(major), int(minor)),
        memory_mib=int(str(row["memory_mib"])),
        total_gib=_total_gib(row),
        gb_per_s=float(str(row["gb_per_s"])),
        tflops_16bit=float(str(row["tflops_16bit"])),
        nvlink=bool(row["nvlink"]),
    )


def _total_gib(row: Mapping[str, object]) -> float:
    seen = row["torch_gib"]
    return float(str(seen)) if seen is not None else round(int(str(row["memory_mib"])) / 1024 - DRIVER_SHARE_GIB, 2)


@cache
def _by_key() -> Mapping[str, Gpu]:
    table = {}
    for row in read("gpus.json")["gpus"]:
        kind = _from_row(row)
        for name in (kind.name, *row["smi"]):
            table[_key(name)] = kind
    return table


def _key(name: str) -> str:
    """The name without maker, family and punctuation, so that ``Tesla T4``, ``t4`` and ``NVIDIA T4`` are one."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).split()
    return "".join(word for word in words if word not in ("nvidia", "tesla", "geforce"))
