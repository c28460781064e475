"""What vLLM makes of arguments, held against 0.8.2's own config step on five GPUs."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.sizing import Request, catalog, gpu
from fleet.sizing.answer import Answer
from fleet.sizing.commandline import parse_words
from fleet.sizing.gpus import Gpu
from fleet.sizing.judge import judge
from fleet.sizing.settings import Arguments, Settings, resolve

MATRIX = Path(__file__).parent / "dryrun-0.8.2.txt"
KINDS = {"Tesla T4": "T4", "NVIDIA A10": "A10", "NVIDIA A100-SXM4-80GB": "A100-80GB", "NVIDIA L20": "L20"}
#: What only the worker finds out, after the config step.
LATER = {"dtype-bf16", "q-align", "vit-mlp"}
#: The config step's error → the rule that says so here.
ERRORS = {
    "Cannot find the config file for": "q-missing",
    "is not supported for the current GPU": "q-capability",
    "is not supported for quantization method": "q-awq-half",
    "does not match the quantization method": "q-mismatch",
    "must be divisible by tensor parallel size": "heads",
    "Too large swap space": "swap-ram",
    "greater than the derived max_model_len": "len-max",
    "must be less than 1.0": "util",
    "is smaller than max_model_len": "batch-lt-len",
    "must be greater than or equal to max_num_seqs": "batch-lt-seqs",
}


def _matrix() -> Iterator[tuple[Gpu, str, str, str]]:
    kind = gpu("T4")
    for line in MATRIX.read_text().splitlines():
        if line.startswith("== "):
            name = line[3:].rpartition(" sm")[0]
            kind = gpu(KINDS.get(name, name))
        elif line.startswith("RES ") and "no NVIDIA driver" not in line:
            result, _, said = line[4:].partition(" | ")
            state, model, *words = result.split(" ", 2)
            yield kind, model, " ".join(words), f"{state} {said}"


CASES = list(_matrix())


def _judged(kind: Gpu, name: str, line: str) -> tuple[Answer, Settings]:
    model = replace(catalog.model(name), dtype="bfloat16")  # as the configs of that run said
    args = parse_words("0.8.2", shlex.split(line)).args
    request = Request(model, kind, 8, "0.8.2", args, host_memory_gib=23.54)
    return judge(request, model, args), resolve(model, kind, "0.8.2", Arguments(args), {})


def test_the_matrix_is_whole() -> None:
    assert len(CASES) > 100


@pytest.mark.parametrize(("kind", "model", "line", "said"), CASES, ids=[f"{c[0].name} {c[1]} {c[2]}" for c in CASES])
def test_the_config_step_of_0_8_2_agrees(kind: Gpu, model: str, line: str, said: str) -> None:
    answer, settings = _judged(kind, model, line)
    refused = {reason.rule for reason in answer.refusals if not reason.rule.startswith("mem-")} - LATER
    if said.startswith("ERR"):
        assert {rule for words, rule in ERRORS.items() if words in said} & refused
        return
    assert not refused
    told = dict(re.findall(r"(\w+)= (\S+)", said))
    assert settings.engine == f"V{told['V1']}"
    assert f"torch.{settings.dtype}" == told["dtype"]
    assert str(settings.kernel) == told["quant"]
    assert settings.max_model_len == int(told["mml"])
    assert settings.batched_tokens == int(told["mnbt"])
    assert settings.max_seqs == int(told["mns"])
    assert str(settings.chunked) == told["chunked"]


def test_newer_releases_batch_by_memory() -> None:
    model = catalog.model("Qwen/Qwen3-8B")
    small, big = (resolve(model, gpu(name), "0.24.0", Arguments({}), {}) for name in ("A10", "H100-80GB"))
    assert (small.batched_tokens, small.max_seqs) == (2048, 256)
    assert (big.batched_tokens, big.max_seqs) == (8192, 1024)


def test_a_context_may_be_written_with_k() -> None:
    assert Arguments({"max-model-len": "32k"}).number("max-model-len") == 32000
    assert Arguments({"max-model-len": "32K"}).number("max-model-len") == 32768


def test_limits_are_read_in_every_form() -> None:
    forms: list[dict[str, object]] = [
        {"limit-mm-per-prompt": {"image": 5, "video": 0}},
        {"limit-mm-per-prompt": "image=5,video=0"},
        {"limit-mm-per-prompt": '{"image": 5, "video": 0}'},
        {"limit-mm-per-prompt.image": "5", "limit-mm-per-prompt.video": "0"},
    ]
    for form in forms:
        assert Arguments(form).mapping("limit-mm-per-prompt") == {"image": 5, "video": 0}


def test_there_is_no_v0_any_more_from_0_11_on() -> None:
    model = catalog.model("Qwen/Qwen3-8B")
    assert resolve(model, gpu("T4"), "0.10.1", Arguments({"dtype": "half"}), {}).engine == "V0"
    assert resolve(model, gpu("T4"), "0.24.0", Arguments({"dtype": "half"}), {}).engine == "V1"
