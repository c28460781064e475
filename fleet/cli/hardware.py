"""``./inv hardware``: which GPUs would carry a load."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.commandline import at_least
from fleet.cli.program import verb
from fleet.cli.size_ask import Format, read
from fleet.errors import UsageError
from fleet.sizing import catalog, read_model, words
from fleet.sizing.hardware import Load, offers
from fleet.sizing.hardware import prices as read_prices
from fleet.sizing.model import Model


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
    if not model:
        raise UsageError("--model is needed", hint="e.g. --model Qwen/Qwen2.5-VL-7B-Instruct")
    at_least(0, rate=rate)
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
