"""``size`` and ``hardware`` from the command line: exit codes, output; ``--args`` is judged, never wrong use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invoke.collection import Collection

from fleet.cli import size
from fleet.cli.program import Program
from fleet.sizing import catalog

VL7 = "Qwen/Qwen2.5-VL-7B-Instruct"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def inv(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``inv WORDS``: exit code, stdout, stderr."""
    namespace = Collection(*size.collection.tasks.values())
    program = Program(name="inv", binary="inv", binary_names=["inv"], version="0", namespace=namespace)

    def run(*words: str) -> tuple[int, str, str]:
        code = 0
        try:
            program.run(["inv", *words], exit=False)
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def asked(inv: Run, *words: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = inv("size", "--json", *words)
    return code, json.loads(out)


@pytest.mark.parametrize(
    ("words", "code", "verdict"),
    [
        (("--gpu", "A10", "--count", "2"), 0, "runs"),
        (("--gpu", "NVIDIA A10", "--args", "--max-model-len 4096 --max-num-seqs 64"), 0, "runs"),
        (("--gpu", "T4", "--args", "--tensor-parallel-size 8"), 1, "refused"),
        (("--gpu", "A10", "--args", "--enforce-eager"), 1, "refused"),
        (("--gpu", "A10", "--args", "--no-such-option 'unbalanced"), 1, "refused"),
        (("--gpu", "A10", "--args", "stray words"), 1, "refused"),
        (("--gpu", "A10", "--vllm", "0.6.0"), 3, "unknown"),
        (("--gpu", "A10", "--vllm", "0.6.0", "--args", "--x 'y"), 3, "unknown"),
    ],
)
def test_the_verdict_is_the_exit_code(inv: Run, words: tuple[str, ...], code: int, verdict: str) -> None:
    ended, document = asked(inv, "--model", VL7, *words)
    assert (ended, document["verdict"]) == (code, verdict)


@pytest.mark.parametrize(
    "words",
    [
        ("--model", "no/such-model", "--gpu", "A10"),
        ("--model", "./missing/config.json", "--gpu", "A10"),
        ("--model", VL7, "--gpu", "H9000"),
        ("--model", VL7, "--gpu", "A10", "--count", "0"),
        ("--model", VL7, "--gpu", "A10", "--vllm", "latest"),
        ("--model", VL7),
        ("--model", VL7, "--gpu", "A10", "--aim", "beauty"),
        ("--model", VL7, "--gpu", "A10", "--tp", "x"),
        ("--model", VL7, "--gpu", "A10", "--breakdown-by", "colour"),
        ("--model", VL7, "--gpu", "A10", "--plot", "chart.pdf"),
        ("--model", VL7, "--gpu", "A10", "--plot", "/no/such/directory/chart.png"),
        ("--model", VL7, "--gpu", "A10", "--env", "NOVALUE"),
    ],
)
def test_wrong_use_of_our_own_options_is_2_with_words(inv: Run, words: tuple[str, ...]) -> None:
    code, out, err = inv("size", *words)
    assert (code, out) == (2, "")
    assert "error: " in err


def test_an_error_is_json_too(inv: Run) -> None:
    code, document = asked(inv, "--model", "no/such-model", "--gpu", "A10")
    assert (code, document["error"]["kind"]) == (2, "CatalogError")


def test_a_model_may_be_a_path(inv: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(catalog.find(VL7).config))
    _, by_name = asked(inv, "--model", VL7, "--gpu", "A10")
    for path in (tmp_path, tmp_path / "config.json"):
        assert asked(inv, "--model", str(path), "--gpu", "A10") == (0, by_name)


def test_a_cut_config_is_2(inv: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Qwen2')
    code, _, err = inv("size", "--model", str(tmp_path), "--gpu", "A10")
    assert code == 2
    assert "config.json" in err


def test_an_unknown_architecture_is_3_with_weights_from_the_files(inv: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["FooForCausalLM"]}')
    (tmp_path / "model.safetensors").write_bytes(b"\0" * (1 << 20))
    code, document = asked(inv, "--model", str(tmp_path), "--gpu", "A10", "--args", "--dtype half")
    assert (code, document["verdict"], document["kv_tokens"]) == (3, "unknown", None)
    assert document["per_gpu"]["weights_gib"] == pytest.approx(1 / 1024, abs=5e-4)


def test_what_torch_sees_is_taken_at_its_word(inv: Run) -> None:
    _, document = asked(inv, "--model", VL7, "--gpu", "A10", "--total-gib", "21.99")
    assert document["per_gpu"]["total_gib"] == 21.99


def test_the_hosts_memory_is_checked(inv: Run) -> None:
    args = ("--model", VL7, "--gpu", "A100-80GB", "--count", "4", "--args", "--tensor-parallel-size 4 --swap-space 16")
    _, document = asked(inv, *args, "--host-memory-gib", "64")
    assert "swap-ram" in {reason["rule"] for reason in document["reasons"]}


def test_people_read_verdict_reasons_and_what_to_do_instead(inv: Run) -> None:
    code, out, _ = inv(
        "size", "--model", VL7, "--gpu", "T4", "--count", "4", "--args", "--tensor-parallel-size 4", "--explain"
    )
    assert code == 1
    assert "refused" in out
    assert "--dtype half" in out
    assert "instead: runs" in out
    assert "dtype-bf16: vllm/worker/worker.py" in out


@pytest.mark.parametrize("how", ["--csv", "--markdown", "--json"])
def test_a_sweep_has_a_row_a_point(inv: Run, how: str) -> None:
    code, out, _ = inv(
        "size", "--model", VL7, "--gpu", "H100-80GB", "--count", "4", "--tp", "1,2", "--batch-sizes", "16,256", how
    )
    assert code == 0
    assert {"--csv": out.count("\n") - 1, "--markdown": out.count("\n") - 2}.get(how, out.count('"tp"')) == 4


@pytest.mark.parametrize("by", ["component", "layer"])
def test_a_breakdown_is_a_table(inv: Run, by: str) -> None:
    code, out, _ = inv("size", "--model", VL7, "--gpu", "A10", "--breakdown-by", by, "--csv")
    assert code == 0
    assert out.startswith(by)


@pytest.mark.parametrize("file", ["chart.png", "chart.html"])
def test_a_chart_is_drawn(inv: Run, tmp_path: Path, file: str) -> None:
    code, _, err = inv("size", "--model", VL7, "--gpu", "A10", "--plot", str(tmp_path / file))
    assert code == 0
    assert (tmp_path / file).stat().st_size > 500
    assert file in err


def test_hardware_compares_gpus_cheapest_first(inv: Run) -> None:
    code, out, _ = inv("hardware", "--model", VL7, "--rate", "2", "--context", "8192", "--json")
    prices = [float(row["price/hour"]) for row in json.loads(out) if row["price/hour"]]
    assert code == 0
    assert prices == sorted(prices)


@pytest.mark.parametrize("words", [(), ("--model", VL7, "--rate", "0"), ("--model", VL7, "--context", "100")])
def test_hardware_says_what_is_missing(inv: Run, words: tuple[str, ...]) -> None:
    assert inv("hardware", *words)[0] == 2


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"A10": "dear"}'])
def test_prices_that_can_t_be_read_are_told_what_prices_look_like(
    inv: Run, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "mine.json"
    if content is not None:
        file.write_text(content)
    code, _, err = inv("hardware", "--model", VL7, "--prices", str(file))
    assert code == 2
    assert '{"A10": 1.2, "T4": 0.6}' in err
    assert "config.json" not in err
