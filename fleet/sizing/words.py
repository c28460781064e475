"""An answer in words: for a person, and as rows for tables, CSV and Markdown. Nothing is printed here."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence

from fleet.sizing.answer import Answer
from fleet.sizing.options import render_args

Rows = Sequence[Mapping[str, object]]

MARKS = {"refuse": "✗", "warn": "!", "set": "·"}


def command(answer: Answer, model: str = "MODEL") -> str:
    """The ``vllm serve`` command of an answer, quoted for a shell, its environment in front."""
    env = [f"{name}={shlex.quote(value)}" for name, value in answer.env.items()]
    return " ".join([*env, "vllm serve", shlex.quote(model), *map(shlex.quote, render_args(answer.vllm, answer.args))])


def summary(answer: Answer, model: str = "MODEL") -> list[str]:
    """The verdict, what to pass, and how much room there is."""
    gpu = answer.per_gpu
    lines = [
        f"{answer.verdict}  (vLLM {answer.vllm}, engine {answer.engine or 'unknown'})",
        f"  {command(answer, model)}",
    ]
    if answer.verdict == "runs":
        lines.append(f"  {answer.instances} such server{'s' if answer.instances != 1 else ''} on these GPUs")
    if gpu.kv_gib is not None:
        parts = (
            f"{_gib(gpu.budget_gib)} budget of {_gib(gpu.total_gib)} = {_gib(gpu.weights_gib)} weights + "
            f"{_gib(gpu.activation_gib)} activations + {_gib(gpu.non_torch_gib)} CUDA and NCCL + "
            f"{_gib(gpu.kv_gib)} KV cache"
        )
        lines.append(f"  a GPU: {parts}; CUDA graphs {_gib(gpu.cuda_graph_gib)}, left over {_gib(gpu.headroom_gib)}")
    elif gpu.weights_gib is not None:
        lines.append(f"  a GPU: {_gib(gpu.weights_gib)} of weights, by the sizes of the files")
    if answer.kv_tokens is not None and answer.concurrency is not None:
        lines.append(
            f"  KV cache: {answer.kv_tokens:,} tokens of {answer.kv_bytes_per_token:,} bytes; "
            f"{answer.concurrency:.1f} requests of the full {answer.max_model_len:,} tokens at once"
        )
    return lines


def reasons(answer: Answer, *, explain: bool = False) -> list[str]:
    """Why: refusals and warnings; with ``explain`` also what was set, and the sources."""
    lines = []
    for reason in answer.reasons:
        if reason.level == "set" and not explain:
            continue
        lines.append(f"  {MARKS[reason.level]} {reason.words}")
        if explain:
            lines.append(f"      {reason.rule}: {reason.source}")
    return lines


def row(answer: Answer) -> dict[str, object]:
    """One answer as a row of a table."""
    gpu = answer.per_gpu
    return {
        "verdict": answer.verdict,
        "engine": answer.engine or "",
        "servers": answer.instances,
        "weights GiB": _two(gpu.weights_gib),
        "activation GiB": _two(gpu.activation_gib),
        "KV GiB": _two(gpu.kv_gib),
        "KV tokens": "" if answer.kv_tokens is None else answer.kv_tokens,
        "context": answer.max_model_len or "",
        "at once": "" if answer.concurrency is None else f"{answer.concurrency:.1f}",
        "why not": "; ".join(reason.rule for reason in answer.refusals),
    }


def markdown(rows: Rows) -> str:
    """The rows as a Markdown table."""
    columns = list(rows[0]) if rows else []
    lines = [columns, ["---"] * len(columns), *([str(r.get(c, "")).replace("|", "\\|") for c in columns] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_csv(rows: Rows) -> str:
    """The rows as CSV, its first line the columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def cells(rows: Rows) -> tuple[list[str], Iterable[list[object]]]:
    """Columns and lines, for a table on a terminal."""
    columns = list(rows[0]) if rows else []
    return columns, ([row.get(column, "") for column in columns] for row in rows)


def plain(value: object) -> str:
    """An argument's value in a table's cell."""
    return ",".join(f"{k}:{v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)


def _gib(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f} GiB"


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
