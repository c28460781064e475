"""docs/sizing.md says what the code says: its tables are made from it (``UPDATE_DOCS=1`` writes them anew)."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.sizing import Request, gpu, render_args, size
from fleet.sizing.commandline import parse_words
from fleet.sizing.data import read
from fleet.sizing.rules import MEMORY_RULES, RULES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sizing.md"


def _presets() -> Iterator[str]:
    yield "| preset | as the guide has it | verdict | chosen | servers, KV tokens |"
    yield "| --- | --- | --- | --- | --- |"
    told = read("presets.json")
    for preset in told["presets"]:
        request = Request(preset["model"], gpu(preset["gpu"]), preset["count"], told["vllm"])
        given = parse_words(told["vllm"], shlex.split(preset["args"])).args
        judged = size(Request(request.model, request.gpu, request.count, request.version, given))
        chosen = size(request)
        why = ", ".join(dict.fromkeys(r.rule for r in judged.refusals)) or "runs"
        warned = ", ".join(dict.fromkeys(r.rule for r in judged.reasons if r.level == "warn" and r.rule != "catalog"))
        words = shlex.join(render_args(told["vllm"], chosen.args))
        verdict = f"{judged.verdict}: {why}" + (f"; warned: {warned}" if warned else "")
        room = f"{chosen.instances}, {chosen.kv_tokens:,}"
        yield f"| {preset['name']} | `{preset['args']}` | {verdict} | `{words}` | {room} |"


def _rules() -> Iterator[str]:
    yield "| rule | | source |"
    yield "| --- | --- | --- |"
    for rule in (*RULES, *MEMORY_RULES):
        yield f"| {rule.id} | {'✗' if rule.level == 'refuse' else '!'} | {rule.source} |"


@pytest.mark.parametrize(("name", "rows"), [("presets", list(_presets())), ("rules", list(_rules()))])
def test_a_table_of_the_page_is_what_the_code_says(name: str, rows: list[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    marked = re.compile(rf"<!-- {name} -->\n(\|.*\n)*")
    if os.environ.get("UPDATE_DOCS"):
        text = marked.sub(lambda _: f"<!-- {name} -->\n" + "\n".join(rows) + "\n", text)
        PAGE.write_text(text, encoding="utf-8")
    assert "\n".join(rows) in text
