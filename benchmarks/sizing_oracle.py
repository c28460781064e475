"""Sizing's parser and rules against the real ones: vLLM 0.32's own parser and config step, on GPUs that are claimed.

    python -m benchmarks.sizing_oracle TREE [--python python3.11] [--out tests/unit/sizing/dryrun-0.32.0.jsonl] [--all]

TREE is a directory of packages with vLLM for CPU (``fleet.lab.vllm_tree`` makes one; the lab's image has it in
/opt/vllm). Each option of the version is asked about with values that it takes and that it doesn't, each rule with
cases on five GPUs. Prints how many verdicts agree, by part, and those that don't; ``--out`` writes the answers down
for the unit tests. Exit 1 where one differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.sizing import Request, catalog, gpu, read_model
from fleet.sizing.commandline import parse_words
from fleet.sizing.gpus import Gpu
from fleet.sizing.judge import canonical, judge
from fleet.sizing.options import Option, options
from fleet.sizing.settings import Arguments, resolve

VERSION = "0.32.0"
GPUS = ("T4", "A10", "A100-80GB", "L20", "H100-80GB")
COUNT = 8
VL, AWQ, OLD_AWQ = "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct-AWQ", "Qwen/Qwen2.5-VL-72B-Instruct-AWQ"
TEXT, GPTQ = "Qwen/Qwen3-8B", "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4"
#: What only the worker finds out, after the config step.
LATER = frozenset(("dtype-bf16", "block", "q-align", "vit-mlp", "mlp", "kv-heads", "image-arch", "driver", "gpus"))
#: Options that are looked into further than the form of their value: a file, a little language, another option.
BEYOND = frozenset((
    "chat-template", "config", "data-parallel-multi-port-external-lb", "enable-log-outputs", "grpc-port", "help",
    "hf-token", "lora-modules",
))  # fmt: skip
#: Arguments for each model: a case of each rule that the config step of 0.32 can know of, beside one that passes.
CASES: Mapping[str, Sequence[str]] = {
    VL: (
        "", "--tensor-parallel-size 3", "--tensor-parallel-size 4", "--tensor-parallel-size 8", "--dtype half",
        "--dtype bfloat16", "--dtype float32", "--quantization awq", "--quantization fp8", "--quantization gptq",
        "--max-model-len 8192", "--max-model-len 200000", "--max-model-len 0", "--max-model-len -1",
        "--max-model-len auto", "--gpu-memory-utilization 1.5", "--gpu-memory-utilization 0",
        "--gpu-memory-utilization 1.0", "--max-num-seqs 0", "--max-num-seqs 512",
        "--max-num-seqs 64 --max-num-batched-tokens 32", "--max-num-batched-tokens 512 --max-num-seqs 16",
        "--max-num-batched-tokens 4096 --max-model-len 8192 --no-enable-chunked-prefill",
        "--max-num-batched-tokens 8192 --max-model-len 8192 --no-enable-chunked-prefill",
        "--limit-mm-per-prompt {\"image\":5,\"video\":0}", "--limit-mm-per-prompt {\"image\":-2}",
        "--limit-mm-per-prompt {\"image\":\"many\"}", "--limit-mm-per-prompt.image 2",
        "--mm-processor-kwargs {\"max_pixels\":1003520}", "--block-size 16", "--block-size 32", "--block-size 5",
        "--pipeline-parallel-size 2 --tensor-parallel-size 4", "--tensor-parallel-size 0", "--enforce-eager",
        "--no-enable-chunked-prefill", "--kv-cache-dtype fp8", "--kv-cache-dtype fp8_e5m2", "--cpu-offload-gb 10",
        "--data-parallel-size 2 --tensor-parallel-size 4", "--pipeline-parallel-size 64",
    ),
    AWQ: ("", "--dtype half", "--dtype bfloat16", "--quantization awq", "--quantization awq --dtype half",
          "--quantization awq_marlin", "--quantization gptq", "--quantization fp8", "--tensor-parallel-size 4"),
    OLD_AWQ: ("--tensor-parallel-size 8", "--tensor-parallel-size 8 --dtype half", "--tensor-parallel-size 3"),
    TEXT: ("", "--tensor-parallel-size 5", "--tensor-parallel-size 8", "--max-model-len 50000", "--quantization awq",
           "--limit-mm-per-prompt {\"image\":1}", "--max-num-seqs 4096"),
    GPTQ: ("", "--dtype half", "--dtype bfloat16", "--quantization gptq", "--quantization gptq --dtype half",
           "--quantization gptq_marlin", "--quantization awq"),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One question: a model (none: the parser alone) on a kind of GPU, and the words after it."""

    model: str
    gpu: str
    words: tuple[str, ...]

    @property
    def part(self) -> str:
        """``parser`` or ``config``."""
        return "config" if self.model else "parser"


def cases() -> Iterator[Case]:
    """Every question, the parser's under the first GPU."""
    for option in options(VERSION).values():
        for words in words_for(option):
            yield Case("", GPUS[0], words)
    for kind in GPUS:
        for model, lines in CASES.items():
            for line in lines:
                yield Case(model, kind, tuple(line.split()))


def words_for(option: Option) -> Iterator[tuple[str, ...]]:
    """Words with one option: as it takes them, and as it shouldn't."""
    name = f"--{option.name}"
    yield (name,)
    if option.negative:
        yield (f"--{option.negative}",)
    yield (f"{name}=no such value",)
    for value in ("4", "0.5", "4k", '{"a": 1}', "true"):
        yield (name, value)
    for choice in sorted(option.choices):
        yield (name, choice)
    yield from ((alias, "4") for alias in option.aliases if alias != f"--{option.negative}")


def ask(tree: Path, python: str, told: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers of the vLLM in ``tree``."""
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tree}:{root}", "VLLM_CACHE_ROOT": str(tree.parent / "vllm-cache")}
    lines = "".join(json.dumps(case) + "\n" for case in asked)
    words = [python, "-s", "-m", "benchmarks.ask_vllm", json.dumps(told)]
    done = subprocess.run(words, input=lines, env=environment, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        sys.exit(f"vLLM ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def ours(case: Case) -> tuple[bool, tuple[str, ...], dict[str, Any]]:
    """Whether sizing takes it as far as the config step can know, why not, and the settings that it comes to."""
    parsed = parse_words(VERSION, case.words)
    kind, model = gpu(case.gpu), read_model(catalog.find(case.model or TEXT).config)
    said = tuple(finding.words for finding in parsed.findings)
    request = Request(model, kind, COUNT, VERSION, parsed.args, host_memory_gib=512.0, refused_words=said)
    refused = judge(request, model, parsed.args).refusals
    only = {"parser", "option", "tools"} if case.part == "parser" else None
    counted = [
        r for r in refused if (r.rule in only if only else r.rule not in LATER and not r.rule.startswith("mem-"))
    ]
    settings = resolve(model, kind, VERSION, Arguments(canonical(VERSION, parsed.args)), {})
    came_to = {
        "dtype": settings.dtype, "max_model_len": settings.max_model_len, "max_num_seqs": settings.max_seqs,
        "max_num_batched_tokens": settings.batched_tokens,
    }  # fmt: skip
    return not counted, tuple(f"{reason.rule}: {reason.words}" for reason in counted), came_to


def beyond(case: Case, theirs: Mapping[str, Any]) -> bool:
    """Whether the answer hangs on what isn't judged here: files, little languages, names inside an object."""
    name = case.words[0].partition("=")[0].lstrip("-") if case.words else ""
    return case.part == "parser" and (name in BEYOND or "unexpected_keyword_argument" in theirs.get("error", ""))


def differs(case: Case, theirs: Mapping[str, Any]) -> str:
    """How sizing's answer differs from vLLM's; empty where they agree."""
    takes, why, came_to = ours(case)
    if takes != ("stage" not in theirs):
        return f"vLLM: {theirs.get('error', 'takes it')[:160]!r}; here: {'; '.join(why) or 'taken'}"
    if takes and case.model:
        other = [f"{name} {theirs[name]}, here {came_to[name]}" for name in came_to if theirs[name] != came_to[name]]
        return "; ".join(other)
    return ""


def gather(tree: Path, python: str) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Each case with vLLM's answer."""
    every = list(cases())
    with tempfile.TemporaryDirectory() as place:
        for name in CASES:
            folder = Path(place, name.replace("/", "--"))
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps(dict(catalog.find(name).config)))
        architectures = sorted({str(catalog.find(name).config["architectures"][0]) for name in CASES})
        ask(tree, python, {"remember": architectures}, [])
        for label in GPUS:
            mine = [case for case in every if case.gpu == label]
            asked = [
                {"model": str(Path(place, case.model.replace("/", "--"))) if case.model else "", "words": case.words}
                for case in mine
            ]
            for case, said in zip(mine, ask(tree, python, _told(gpu(label)), asked), strict=True):
                if "error" in said:  # without the places of the machine that was asked
                    said["error"] = said["error"].replace(str(tree), "TREE").replace(place, "MODELS")[:400]
                yield case, said


def _told(kind: Gpu) -> dict[str, Any]:
    size = int(kind.total_gib * 2**30)
    return {"capability": kind.capability, "name": kind.smi_name, "bytes": size, "count": COUNT}


def main() -> int:
    """Ask, compare, print."""
    parser = argparse.ArgumentParser(description="sizing against vLLM's own parser and config step")
    parser.add_argument("tree", type=Path)
    parser.add_argument("--python", default="python3.11")
    parser.add_argument("--out", type=Path)
    told = parser.parse_args()
    answers = list(gather(told.tree.resolve(), told.python))
    if told.out:
        rows = [json.dumps({**vars(case), "said": said}, ensure_ascii=False) for case, said in answers]
        told.out.write_text("\n".join(rows) + "\n")
    wrong = 0
    for part in ("parser", "config"):
        here = [(case, said) for case, said in answers if case.part == part]
        mine = [(case, differs(case, said)) for case, said in here if not beyond(case, said)]
        bad = [(case, words) for case, words in mine if words]
        wrong += len(bad)
        print(f"{part}: {len(mine) - len(bad)} of {len(mine)} agree; {len(here) - len(mine)} left out, not judged here")
        for case, words in bad:
            print(f"  {case.model or '-'} {case.gpu} {' '.join(case.words)}\n      {words}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
