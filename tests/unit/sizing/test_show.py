"""Answers as words, rows, breakdowns, sweeps and charts."""

import struct
import zlib
from dataclasses import replace

import pytest

from fleet.errors import UsageError
from fleet.sizing import Request, gpu, size, words
from fleet.sizing.breakdown import by_component, by_layer
from fleet.sizing.drawing import Box, Text, png, svg
from fleet.sizing.glyphs import GLYPHS, WIDTH
from fleet.sizing.plot import html, image
from fleet.sizing.sweep import Grid, cases, longest_context, numbers

VL7 = "Qwen/Qwen2.5-VL-7B-Instruct"
RUNS = size(Request(VL7, gpu("A10"), 2))
REFUSED = size(Request(VL7, gpu("T4"), 1, "0.8.2", {"tensor-parallel-size": 8}))


def test_the_command_is_one_that_a_shell_takes() -> None:
    answer = size(Request(VL7, gpu("A10"), 1, "0.33.0", {"limit-mm-per-prompt": {"image": 1}}, {"A": "b c"}))
    assert words.command(answer, VL7) == f"A='b c' vllm serve {VL7} --limit-mm-per-prompt '{{\"image\": 1}}'"


def test_a_summary_says_verdict_memory_and_room() -> None:
    text = "\n".join(words.summary(RUNS, VL7))
    assert text.startswith("runs")
    assert "weights" in text
    assert "requests of the full" in text


def test_reasons_name_their_rule_and_source_when_explained() -> None:
    assert any("28 attention heads" in line for line in words.reasons(REFUSED))
    assert any("vllm/config.py:755" in line for line in words.reasons(REFUSED, explain=True))


def test_rows_become_csv_and_markdown() -> None:
    rows = [words.row(RUNS), words.row(REFUSED)]
    assert words.as_csv(rows).splitlines()[0].startswith("verdict,engine,servers")
    assert words.markdown(rows).splitlines()[1].startswith("| --- |")
    assert len(words.markdown(rows).splitlines()) == 4


def test_components_add_up_to_the_gpu() -> None:
    rows = by_component(RUNS)
    total = sum(float(str(row["GiB"])) for row in rows)
    assert total == pytest.approx((RUNS.per_gpu.total_gib or 0) - 0.5, abs=0.05)  # what lies outside is half a GiB


def test_layers_that_are_alike_share_a_row() -> None:
    assert [row["count"] for row in by_layer(RUNS)] == [1, 1, 28, 1, 1]


def test_a_sweep_varies_one_thing_at_a_time_and_keeps_the_rest() -> None:
    request = Request(VL7, gpu("H100-80GB"), 4, "0.24.0", {"max-model-len": 8192})
    found = list(cases(request, Grid(tp=(1, 2), concurrency=(8,))))
    assert [varied for varied, _, _ in found] == [{"tp": 1, "wanted at once": 8}, {"tp": 2, "wanted at once": 8}]
    assert all(case.args is not None and case.args["max-model-len"] == 8192 for _, case, _ in found)


def test_the_longest_context_for_all_is_an_equal_share_of_the_cache() -> None:
    answer = replace(RUNS, kv_tokens=80_000, max_model_len=32768)
    assert longest_context(answer, 8) == 10_000
    assert longest_context(answer, 1) == 32768


@pytest.mark.parametrize("text", ["a", "1,b", "0", "-1", "1.5"])
def test_a_list_of_numbers_is_one(text: str) -> None:
    with pytest.raises(UsageError):
        numbers("--tp", text)


def test_charts_are_drawn_for_answers_that_run_and_that_do_not() -> None:
    page = html("a <title>", [("asked", REFUSED), ("instead", RUNS)])
    assert page.count("<svg") == 2
    assert "a &lt;title&gt;" in page
    assert image([("asked", REFUSED)]).startswith(b"\x89PNG\r\n\x1a\n")


def test_a_png_holds_the_pixels_that_were_drawn() -> None:
    data = png([Box(1, 1, 2, 1, (255, 0, 0))], 4, 3)
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT") + 4
    rows = zlib.decompress(data[start : data.index(b"IEND") - 8])
    assert (width, height, len(rows)) == (4, 3, 3 * (1 + 4 * 3))
    assert rows[13 + 1 + 3 : 13 + 1 + 9] == b"\xff\x00\x00" * 2


def test_words_in_svg_are_escaped_and_every_glyph_is_five_wide() -> None:
    assert "a &lt; b" in svg([Text(0, 0, "a < b")], 10, 10)
    assert all(len(columns) == WIDTH for columns in GLYPHS.values())
