"""``./inv size`` and ``./inv hardware``: what runs where, judged before anything is pulled."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.program import verb
from fleet.errors import CatalogError, FleetError, UsageError
from fleet.sizing import AIMS, Aim, Answer, Gpu, Request, catalog, gpu, load_model, size, words
from fleet.sizing.breakdown import by_component, by_layer
from fleet.sizing.commandline import parse_words
from fleet.sizing.model import Model, read_json
from fleet.sizing.sweep import Grid, cases, longest_context, numbers
from fleet.sizing.versions import neighbours

BREAKDOWNS: Mapping[str, Callable[[Answer], list[dict[str, object]]]] = {"component": by_component, "layer": by_layer}
EXIT = {"runs": 0, "refused": 1, "unknown": 3}


@dataclass(frozen=True)
class Format:
    """How results are shown: one of ``json``, ``csv``, ``markdown``, else words and tables for a person."""

    json: bool = False
    csv: bool = False
    markdown: bool = False

    def rows(self, rows: words.Rows, title: str = "") -> None:
        """Show rows in this format."""
        if self.json:
            report.result_json(rows)
        elif self.csv:
            report.result(words.as_csv(rows))
        elif self.markdown:
            report.result(words.markdown(rows))
        else:
            columns, lines = words.cells(rows)
            report.table(columns, lines, title=title)


@verb(
    common="inventory limit json forks timeout",
    help={
        "model": "A catalog name (Qwen/Qwen2.5-VL-7B-Instruct), a directory, or a config.json",
        "gpu": "The GPU: T4, A10, A100-40GB, H100-80GB, L20 …, or what nvidia-smi prints",
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
    if breakdown_by and breakdown_by not in BREAKDOWNS:
        raise UsageError(f"--breakdown-by {breakdown_by!r} isn't known", hint=f"take {' or '.join(BREAKDOWNS)}")
    if plot and not plot.endswith((".png", ".html")):
        raise UsageError(f"--plot {plot}: only .png and .html can be drawn", hint="name the file plot.html")
    if hosts:
        from fleet.cli.session import Options

        options = Options(hosts, tuple(inventory or ()), limit, json, int(forks), float(timeout))
        raise Exit(code=_on_hosts(options, how, model, args, _aim(aim), explain=explain))
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


def ask(model: str, kind: Gpu, count: int, vllm: str, args: str | None, aim: Aim) -> Request:
    """The request that the options mean. Whatever stands in ``args`` is left to be judged.

    Raises:
        UsageError: a count below 1.
        CatalogError: a model or version that can't be read.
    """
    if count < 1:
        raise UsageError(f"--count {count}: at least one GPU is needed", hint="leave it out for one")
    found, weight_bytes = read(model)
    refused: tuple[str, ...] = ()
    given: Mapping[str, object] | None = None
    if args is not None:
        try:
            split = shlex.split(args)
        except ValueError as error:
            split, refused = [], (f"a shell can't split {args!r}: {error}",)
        parsed = parse_words(vllm, split) if neighbours(vllm).known else None
        given = dict(parsed.args) if parsed else {}
        refused += tuple(finding.words for finding in parsed.findings) if parsed else ()
    neighbours(vllm)  # a version that is none is wrong use, said before anything else
    return Request(found, kind, count, vllm, given, aim=aim, weight_bytes=weight_bytes, refused_words=refused)


def read(model: str) -> tuple[Model | Mapping[str, Any] | str, int | None]:
    """A model by path or catalog name, and the bytes of its weights where they lie beside its config.json."""
    path = Path(model).expanduser()
    if not path.exists() and (model.startswith((".", "/", "~")) or model.endswith(".json")):
        raise CatalogError("there is no such file or directory", where=model, hint="or give a name from the catalog")
    if not path.exists():
        return catalog.find(model).name, None
    folder = path if path.is_dir() else path.parent
    files = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    try:
        return load_model(path), sum(file.stat().st_size for file in files) or None
    except CatalogError as error:
        if type(error) is CatalogError:
            raise
        return read_json(path / "config.json" if path.is_dir() else path), sum(f.stat().st_size for f in files) or None


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


def _on_hosts(options: Any, how: Format, model: str, args: str | None, aim: Aim, *, explain: bool) -> int:
    """Every instance of the picked hosts (or ``model`` on each) by the host's facts; the worst verdict's exit code."""
    from fleet.cli.session import open_session
    from fleet.survey import gather

    with open_session(options, (), doing="size", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: gather(transport))
        settings = session.settings
    document: dict[str, object] = {}
    rows, code = [], 0
    for name, facts in seen.items():
        if isinstance(facts, FleetError):
            report.error(f"{name}: {facts}")
            document[name], code = {"error": facts.as_json()}, max(code, 1)
            continue
        answers: dict[str, Any] = {}
        for label, request in _asked_of(settings[name], facts, model, args, aim):
            answer = size(request)
            answers[label] = answer.as_json()
            rows.append({"host": name, "instance": label, **words.row(answer)})
            code = max(code, EXIT[answer.verdict])
            if explain and not how.json:
                report.note(f"{name} {label}:\n" + "\n".join(words.reasons(answer, explain=True)))
        document[name] = answers
    if how.json:
        report.result_json(document)
    else:
        how.rows(rows)
    return code


def _asked_of(told: Any, facts: Any, model: str, args: str | None, aim: Aim) -> Iterator[tuple[str, Request]]:
    """``(instance, request)`` for one host: its GPUs from its facts, its instances from its settings."""
    from fleet.sizing import from_smi

    if not facts.gpus:
        return
    first = facts.gpus[0]
    kind = from_smi(first.name, first.memory_mib, first.compute_capability)
    host = {"host_memory_gib": facts.memory_kib / (1 << 20), "driver": first.driver, "cuda": told.image.cuda}
    if model:
        yield model, replace(ask(model, kind, len(facts.gpus), told.image.vllm, args, aim), **host)
        return
    for instance in told.instances:
        width = len(facts.gpus) if instance.gpus == "all" or not instance.gpus else instance.gpus
        count = width if isinstance(width, int) else len(width)
        plain = {name: str(value) for name, value in instance.env.items()}
        request = Request(
            instance.model,
            kind,
            count,
            told.image.vllm,
            instance.args or None,
            plain,
            aim=instance.auto,
            auto=True,
            **host,
        )
        yield instance.name, request


@verb(
    common="json",
    help={
        "model": "A catalog name, a directory, or a config.json",
        "rate": "Requests a second that shall be carried (default 1)",
        "context": "Tokens of one request in all (default 4096)",
        "output": "How many of them are generated (default 256)",
        "vllm": "The image's vLLM version (default 0.8.2)",
        "prices": "A JSON file with the price of a GPU's hour by catalog name (default: dated examples)",
        "csv": "Rows as CSV",
        "markdown": "Rows as a Markdown table",
    },
)
def hardware(
    c: Context,
    model: str = "",
    rate: float = 1.0,
    context: int = 4096,
    output: int = 256,
    vllm: str = "0.8.2",
    prices: str = "",
    json: bool = False,
    csv: bool = False,
    markdown: bool = False,
) -> None:
    """Which GPUs would carry this load, cheapest first. Rates are bounds by bandwidth and compute, not measured.

    Example: ./inv hardware --model Qwen/Qwen2.5-VL-7B-Instruct --rate 5 --context 8192
    """
    from fleet.sizing import read_model
    from fleet.sizing.hardware import Load, offers
    from fleet.sizing.hardware import prices as read_prices

    if not model:
        raise UsageError("--model is needed", hint="e.g. --model Qwen/Qwen2.5-VL-7B-Instruct")
    if rate <= 0 or not 0 < output < context:
        raise UsageError("--rate must be above 0, and --output between 0 and --context", hint="see --help")
    found, _ = read(model)
    if isinstance(found, str):
        found = catalog.model(found)
    known = found if isinstance(found, Model) else read_model(found, where=model)
    cost, source = read_prices(Path(prices) if prices else None)
    load = Load(float(rate), int(context), int(output))
    ways = sorted(offers(known, load, vllm, cost), key=lambda way: (way.price is None, way.price or 0, way.gpus))
    rows = [
        {
            "gpu": way.gpu.name,
            "per host": way.per_server,
            "hosts": way.servers,
            "gpus": way.gpus,
            "requests/s each": f"{way.rate_each:.2f}",
            "price/hour": "" if way.price is None else f"{way.price:.2f}",
            "args": " ".join(f"{name}={words.plain(value)}" for name, value in way.answer.args.items()),
        }
        for way in ways
    ]
    Format(json, csv, markdown).rows(rows)
    if not json:
        report.note(f"rates are bounds by bandwidth and compute, not measured; prices: {source}")
    raise Exit(code=0 if rows else 1)


def _gpu(name: str, total_gib: float) -> Gpu:
    kind = gpu(name)
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
collection.add_task(size_verb, name="size", default=True)
