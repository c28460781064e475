"""``./inv size`` and ``./inv hardware``: what runs where, judged before anything is pulled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.commandline import at_least
from fleet.cli.hardware import hardware
from fleet.cli.program import verb
from fleet.cli.size_ask import EXIT, Format, ask
from fleet.errors import UsageError
from fleet.sizing import AIMS, Aim, Answer, Gpu, Request, gpu, size, words
from fleet.sizing.breakdown import by_component, by_layer
from fleet.sizing.gpus import from_line
from fleet.sizing.sweep import Grid, cases, longest_context, numbers

BREAKDOWNS: Mapping[str, Callable[[Answer], list[dict[str, object]]]] = {"component": by_component, "layer": by_layer}


@verb(
    common="inventory limit json forks timeout",
    help={
        "model": "A catalog name (Qwen/Qwen2.5-VL-7B-Instruct), a directory, or a config.json",
        "gpu": "The GPU: T4, A10, A100-40GB, L20 …, as nvidia-smi prints it, or any other as 'NAME, MiB, capability'",
        "count": "How many of them one host has (default 1)",
        "total-gib": "What torch sees on one GPU, in GiB of 2^30 bytes, where it is known",
        "host-memory-gib": "The host's memory in GiB, for what vLLM checks against it",
        "vllm": "The image's vLLM version (default 0.8.2)",
        "args": "What would follow the model in `vllm serve`, as one text; without it settings are chosen",
        "env": "An environment variable of the server, NAME=VALUE, repeatable",
        "aim": "What to choose for without --args: throughput, latency or context",
        "hosts": "Size the instances (or --model) on these hosts of the inventory, by their facts",
        "explain": "Every rule that applied and every setting that was chosen, with its source",
        "csv": "Rows as CSV",
        "markdown": "Rows as a Markdown table",
        "dtypes": "Sweep over dtypes, e.g. half,bfloat16",
        "batch-sizes": "Sweep over max-num-seqs, e.g. 16,64,256",
        "concurrency": "Sweep over requests that shall fit at once, e.g. 8,32: how long may their context be",
        "tp": "Sweep over tensor-parallel-size, e.g. 1,2,4",
        "breakdown-by": "Where one GPU's memory goes: component or layer",
        "plot": "Draw one GPU's memory and the requests at once into FILE.png or FILE.html",
    },
    iterable=["env", "inventory"],
    name="size",
)
def size_verb(
    c: Context,
    model: str = "",
    gpu: str = "",  # noqa: A002, RUF100 — the option's name
    count: int = 1,
    total_gib: float = 0.0,
    host_memory_gib: float = 0.0,
    vllm: str = "0.8.2",
    args: str | None = None,
    env: list[str] | None = None,
    aim: str = "throughput",
    hosts: str = "",
    inventory: list[str] | None = None,
    limit: str = "",
    forks: int = 50,
    timeout: float = 10.0,
    explain: bool = False,
    json: bool = False,
    csv: bool = False,
    markdown: bool = False,
    dtypes: str = "",
    batch_sizes: str = "",
    concurrency: str = "",
    tp: str = "",
    breakdown_by: str = "",
    plot: str = "",
) -> None:
    """Will this model run on these GPUs, with what settings, with how much room? Connects only with --hosts.

    Ends with 0 when it runs, 1 when it is refused, 3 when that can't be known.

    Example: ./inv size --model Qwen/Qwen2.5-VL-7B-Instruct --gpu A10 --count 2 --args "--tensor-parallel-size 2"
    """
    how = Format(json, csv, markdown)
    grid = Grid(
        _list(dtypes), numbers("--tp", tp), numbers("--batch-sizes", batch_sizes), numbers("--concurrency", concurrency)
    )
    at_least(0, total_gib=total_gib, host_memory_gib=host_memory_gib)
    if breakdown_by and breakdown_by not in BREAKDOWNS:
        raise UsageError(f"--breakdown-by {breakdown_by!r} isn't known", hint=f"take {' or '.join(BREAKDOWNS)}")
    if plot and not plot.endswith((".png", ".html")):
        raise UsageError(f"--plot {plot}: only .png and .html can be drawn", hint="name the file plot.html")
    if hosts:
        from fleet.cli.session import Options  # with all that connects: not needed to judge offline
        from fleet.cli.size_hosts import on_hosts

        options = Options(hosts, tuple(inventory or ()), limit, json, int(forks), float(timeout))
        raise Exit(code=on_hosts(options, how, model, args, _aim(aim), explain=explain))
    if not model or not gpu:
        raise UsageError(
            "--model and --gpu are needed", hint="e.g. --model Qwen/Qwen2.5-VL-7B-Instruct --gpu A10, or --hosts"
        )
    request = replace(
        ask(model, _gpu(gpu, total_gib), int(count), vllm, args, _aim(aim)),
        env=_env(env or []),
        host_memory_gib=float(host_memory_gib) or None,
    )
    if grid:
        raise Exit(code=_sweep(request, grid, how, plot))
    answer = size(request)
    if plot:
        draw(plot, model, [(model.rpartition("/")[2], answer), *_alternatives(answer)])
    if breakdown_by:
        how.rows(BREAKDOWNS[breakdown_by](answer), f"{model} on {request.gpu.name}")
    elif json:
        report.result_json(answer.as_json())
    elif csv or markdown:
        how.rows([{"what": "asked" if args is not None else "chosen", **words.row(answer)}, *_rows(answer)])
    else:
        show(answer, model, explain=explain)
    raise Exit(code=EXIT[answer.verdict])


def show(answer: Answer, model: str, *, explain: bool = False) -> None:
    """One answer for a person: the verdict, why, what else would run."""
    report.result("\n".join([*words.summary(answer, model), *words.reasons(answer, explain=explain)]))
    for other in answer.alternatives:
        report.result("\ninstead: " + "\n".join(words.summary(other, model)))


def draw(file: str, title: str, answers: list[tuple[str, Answer]]) -> None:
    """Write the charts into a .png or .html.

    Raises:
        UsageError: the file can't be written.
    """
    from fleet.sizing import plot

    try:
        if file.endswith(".png"):
            Path(file).write_bytes(plot.image(answers))
        else:
            Path(file).write_text(plot.html(title, answers), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--plot: {error.strerror}", where=file, hint="name a file that can be written") from error
    report.note(f"drawn into {file}")


def _sweep(request: Request, grid: Grid, how: Format, plot: str) -> int:
    rows, answers = [], []
    for varied, case, at_once in cases(request, grid):
        answer = size(case)
        found = {**varied, **words.row(answer)}
        if at_once:
            found["context for all"] = longest_context(answer, at_once)
        rows.append(found)
        answers.append((" ".join(str(value) for value in varied.values()), answer))
    if plot:
        draw(plot, "sweep", answers)
    how.rows(rows)
    return 0 if any(answer.verdict == "runs" for _, answer in answers) else EXIT[answers[0][1].verdict]


def _gpu(name: str, total_gib: float) -> Gpu:
    kind = from_line(name) if "," in name else gpu(name)
    return replace(kind, total_gib=float(total_gib)) if total_gib else kind


def _aim(text: str) -> Aim:
    for aim in AIMS:
        if aim == text:
            return aim
    raise UsageError(f"--aim {text!r} isn't known", hint=f"take one of {', '.join(AIMS)}")


def _env(pairs: list[str]) -> dict[str, str]:
    wrong = next((pair for pair in pairs if "=" not in pair), None)
    if wrong is not None:
        raise UsageError(f"--env {wrong!r} is no NAME=VALUE")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _rows(answer: Answer) -> list[dict[str, object]]:
    return [{"what": name, **words.row(other)} for name, other in _alternatives(answer)]


def _alternatives(answer: Answer) -> list[tuple[str, Answer]]:
    return [(f"instead {n}", other) for n, other in enumerate(answer.alternatives, 1)]


collection = Collection("size")
collection.add_task(size_verb, default=True)
collection.add_task(hardware)
