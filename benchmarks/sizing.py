"""Sizing against reality: weights, KV cache and verdicts beside what vLLM reported at start-up; and sizing's own speed.

    python -m benchmarks.sizing [rows.jsonl …] [--rows] [--models DIR]

Without files the two of ``benchmarks/data`` are read. A row names its model by catalog name, by a path to a config.json
or, with ``--models``, by a directory under DIR. Rows without a version, or with one before 0.8.2, are judged as 0.8.2
with the row's engine; one on a GPU without bfloat16 that doesn't say its dtype is taken as half. Exit 1 when a figure
misses its aim.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleet.errors import FleetError
from fleet.sizing import Answer, Gpu, Model, Request, catalog, gpu, load_model, size
from fleet.sizing.commandline import parse_words
from fleet.sizing.versions import at_least, release

DATA = Path(__file__).parent / "data"
GIB = 1 << 30
AIMS = "weights ≤ 2 % median and ≤ 5 % worst; KV ≤ 5 % median, never > 10 % too optimistic; verdicts ≥ 95 % right"


@dataclass(frozen=True)
class Row:
    """One start-up as it was seen, in the words of :class:`Request`; GiB are 2^30 bytes."""

    name: str
    request: Request
    judge: frozenset[str]
    started: bool | None
    weights: float | None
    kv: float | None
    tokens: float | None


@dataclass
class Tally:
    """Relative errors and verdicts gathered, by engine and version."""

    weights: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    kv: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    per_token: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    verdicts: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    left_out: list[str] = field(default_factory=list)


def read_rows(path: Path, models: Path | None) -> Iterator[Row | str]:
    """The rows of a file; text instead of a row says why it is left out."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        raw = json.loads(line)
        if "about" in raw:
            continue
        name = f"{path.name}:{number} {raw.get('model') or '(no model named)'}"
        judge = frozenset(raw["judge"]) if "judge" in raw else frozenset({"weights", "kv", "verdict", "tokens_per_gib"})
        if not judge:
            yield f"{name}: the row says that it can judge nothing"
            continue
        try:
            yield _row(name, raw, judge, models)
        except FleetError as error:
            yield f"{name}: {error.message}"


def _row(name: str, raw: Mapping[str, Any], judge: frozenset[str], models: Path | None) -> Row:
    version = str(raw.get("vllm") or raw.get("vllm_version") or "0.8.2").split()[0]
    try:
        known = at_least(version, "0.8.2")
    except FleetError:
        known = False
    number = ".".join(str(part) for part in release(version)) if known else "0.8.2"
    env = {}
    if not at_least(number, "0.11.0") and raw.get("engine"):
        env["VLLM_USE_V1"] = "0" if str(raw["engine"]).startswith("V0") else "1"
        if env["VLLM_USE_V1"] == "1":
            env.pop("VLLM_USE_V1")
    count = int(raw.get("gpu_count") or 0)
    args = _args(raw, number)
    split = int(str(args.get("tensor-parallel-size", 1))) * int(str(args.get("pipeline-parallel-size", 1)))
    state = raw.get("state")
    started = state == "ready" if state else raw.get("error") is None
    tokens = raw.get("kv_tokens") or (raw["gpu_blocks"] * 16 if raw.get("gpu_blocks") else None)
    kind = _gpu(raw)
    if kind.sm < 80 and "dtype" not in args:
        args["dtype"] = "half"
    request = Request(_model(raw, models), kind, max(count, split), number, args, env)
    kv = raw.get("kv_gib_per_gpu", raw.get("kv_cache_gib"))
    return Row(name, request, judge, started, raw.get("weights_gib_per_gpu"), kv, tokens)


def _args(raw: Mapping[str, Any], version: str) -> dict[str, object]:
    named = {
        "tensor-parallel-size": raw.get("tensor_parallel_size") or raw.get("tp"),
        "pipeline-parallel-size": raw.get("pipeline_parallel_size") or raw.get("pp"),
        "gpu-memory-utilization": raw.get("gpu_memory_utilization"),
        "max-model-len": raw.get("max_model_len"),
        "max-num-seqs": raw.get("max_num_seqs"),
        "max-num-batched-tokens": raw.get("max_num_batched_tokens"),
        "kv-cache-dtype": raw.get("kv_cache_dtype"),
        "dtype": raw.get("dtype"),
        "limit-mm-per-prompt": raw.get("limit_mm_per_prompt") or raw.get("limit_mm"),
        "mm-processor-kwargs": raw.get("mm_processor_kwargs"),
        "enforce-eager": raw.get("enforce_eager"),
    }
    if "state" in raw:  # our own rows name the option; public ones name what the checkpoint is
        named["quantization"] = raw.get("quantization")
    args: dict[str, object] = {name: value for name, value in named.items() if value not in (None, False)}
    for extra in raw.get("extra_args") or ():
        args.update(parse_words(version, shlex.split(extra)).args)
    return args


def _gpu(raw: Mapping[str, Any]) -> Gpu:
    said = str(raw.get("gpu") or raw.get("gpu_name") or "")
    total = raw.get("torch_total_bytes", 0) / GIB or raw.get("total_gpu_memory_gib")
    try:
        found = gpu(said.split(" (")[0].replace("80GB", "-80GB").replace("--", "-"))
    except FleetError:
        found = _by_memory(total, said)
    return replace(found, total_gib=total) if total else found


def _by_memory(total: float | None, said: str) -> Gpu:
    """A GPU that the row doesn't name: the kind with the nearest memory; Turing where the row says so."""
    names = ("T4", "RTX-2080Ti-22GB") if "Turing" in said else ("A10", "RTX-3090", "A100-40GB", "L40S", "A100-80GB")
    kinds = [gpu(name) for name in names]
    return min(kinds, key=lambda kind: abs(kind.total_gib - total)) if total else gpu("A100-80GB")


def _model(raw: Mapping[str, Any], models: Path | None) -> Model | str:
    name = str(raw.get("model", "")).split(" (")[0]
    for path in ((models / name.rpartition("/")[2]) if models else Path(name), Path(name)):
        if path.exists():
            return load_model(path)
    return catalog.find(name).name


def tally(rows: Iterator[Row | str], into: Tally, *, show: bool) -> None:
    """Size every row and gather the errors."""
    for row in rows:
        if isinstance(row, str):
            into.left_out.append(row)
            continue
        answer = size(row.request)
        key = f"{answer.engine or 'unknown'} {row.request.version}"
        line = [row.name, answer.verdict]
        if "weights" in row.judge and row.weights:
            line.append(_gather(into.weights[key], "weights", answer.per_gpu.weights_gib, row.weights))
        if "kv" in row.judge and row.kv:
            line.append(_gather(into.kv[key], "KV", answer.per_gpu.kv_gib, row.kv))
        if "tokens_per_gib" in row.judge and row.kv and row.tokens:
            line.append(_gather(into.per_token[key], "B/token", _bytes_per_token(answer), row.kv * GIB / row.tokens))
        if "verdict" in row.judge and row.started is not None:
            right = answer.verdict == ("runs" if row.started else "refused")
            into.verdicts[key].append(right)
            line.append("" if right else f"WRONG: it {'started' if row.started else 'did not start'}")
        if show:
            print("  ".join(part for part in line if part))


def _bytes_per_token(answer: Answer) -> float | None:
    kv, tokens = answer.per_gpu.kv_gib, answer.kv_tokens
    return kv * GIB / tokens if kv and tokens else None


def _gather(errors: list[float], what: str, ours: float | None, seen: float) -> str:
    error = (ours - seen) / abs(seen) if ours is not None else float("inf")
    errors.append(error)
    said = "unknown" if ours is None else f"{ours:.2f}"
    return f"{what} {said} for {seen:.2f} ({error:+.1%})"


def met(found: Tally) -> bool:
    """Whether every aim is met."""
    weights, kv, verdicts = _every(found.weights), _every(found.kv), _every(found.verdicts)
    return (
        _median(weights) <= 0.02
        and _worst(weights) <= 0.05
        and _median(kv) <= 0.05
        and max(kv, default=0) <= 0.10
        and sum(verdicts) >= 0.95 * len(verdicts)
    )


def report(found: Tally) -> None:
    """Print n, median and worst by engine and version."""
    print(f"aims: {AIMS}\n")
    for title, groups in (("weights", found.weights), ("KV", found.kv), ("KV bytes a token", found.per_token)):
        every = _every(groups)
        print(f"{title:<18} {'n':>3}  {'median':>7}  {'worst':>7}  {'most optimistic':>15}")
        for key, errors in [*sorted(groups.items()), ("all", every)]:
            most = max(errors, default=0.0)
            print(f"  {key:<16} {len(errors):>3}  {_median(errors):>7.2%}  {_worst(errors):>7.2%}  {most:>+15.2%}")
    print(f"{'starts or not':<18} {'n':>3}  {'right':>7}")
    verdicts: list[tuple[str, Sequence[float]]] = [*sorted(found.verdicts.items()), ("all", _every(found.verdicts))]
    for key, rights in verdicts:
        print(f"  {key:<16} {len(rights):>3}  {sum(rights) / max(1, len(rights)):>7.1%}")
    print(f"\nleft out: {len(found.left_out)}")
    for why in found.left_out:
        print(f"  {why}")
    print(f"\naims met: {'yes' if met(found) else 'NO'}")


def _every(groups: Mapping[str, Sequence[float]]) -> list[float]:
    return [value for values in groups.values() for value in values]


def _median(errors: list[float]) -> float:
    return statistics.median(abs(error) for error in errors) if errors else 0.0


def _worst(errors: list[float]) -> float:
    return max((abs(error) for error in errors), default=0.0)


def speed(hosts: int = 1000) -> float:
    """Milliseconds of CPU a host, for ``hosts`` of four kinds with their own arguments each."""
    kinds = [("Qwen/Qwen2.5-VL-7B-Instruct", "A10", 2), ("Qwen/Qwen2.5-VL-72B-Instruct-AWQ", "A100-40GB", 4)]
    started = time.process_time()
    for index in range(hosts):
        model, name, count = kinds[index % len(kinds)]
        args = {
            "tensor-parallel-size": count,
            "max-model-len": 4096 + 16 * (index % 64),
            "limit-mm-per-prompt": {"image": 2},
        }
        size(Request(model, gpu(name), count, "0.8.2", args if index % 4 else None))
    return (time.process_time() - started) / hosts * 1000


def main() -> int:
    """Read, size, print; 0 when every aim is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "files", nargs="*", type=Path, default=[DATA / "sizing-public.jsonl", DATA / "sizing-h100.jsonl"]
    )
    parser.add_argument("--rows", action="store_true", help="print each row")
    parser.add_argument("--models", type=Path, help="a directory of model directories, each with its config.json")
    asked = parser.parse_args()
    found = Tally()
    for path in asked.files:
        tally(read_rows(path, asked.models), found, show=asked.rows)
    report(found)
    print(f"\nspeed: {speed(100):.2f} ms of CPU a host over 100 hosts, {speed(1000):.2f} over 1,000")
    return 0 if met(found) else 1


if __name__ == "__main__":
    sys.exit(main())
