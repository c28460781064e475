"""Every rule of the table: a case that it lets pass and one that it applies to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from fleet.sizing import Answer, Request, catalog, gpu
from fleet.sizing.judge import judge
from fleet.sizing.rules import MEMORY_RULES, RULES

VL7 = "Qwen/Qwen2.5-VL-7B-Instruct"
VL72AWQ = "Qwen/Qwen2.5-VL-72B-Instruct-AWQ"
FIRST72 = "Qwen/Qwen2.5-VL-72B-Instruct-AWQ@2025-02"


@dataclass(frozen=True)
class Ask:
    """One judgement: arguments by name on some GPUs."""

    args: Mapping[str, object] = field(default_factory=dict)
    model: str = VL7
    gpu: str = "A10"
    count: int = 8
    version: str = "0.8.2"
    env: Mapping[str, str] = field(default_factory=dict)
    host_memory_gib: float | None = None
    driver: str | None = None
    cuda: str | None = None

    def judge(self) -> Answer:
        request = Request(
            self.model,
            gpu(self.gpu),
            self.count,
            self.version,
            self.args,
            self.env,
            host_memory_gib=self.host_memory_gib,
            driver=self.driver,
            cuda=self.cuda,
        )
        return judge(request, catalog.model(self.model), self.args)


TP = "tensor-parallel-size"
#: rule → (a case that passes, a case that it applies to)
CASES: Mapping[str, tuple[Ask, Ask]] = {
    "model-flag": (Ask({"dtype": "half"}), Ask({"model": "x"})),
    "tools": (
        Ask({"enable-auto-tool-choice": True, "tool-call-parser": "hermes"}),
        Ask({"enable-auto-tool-choice": True}),
    ),
    "counts": (Ask({TP: 1}), Ask({TP: 0})),
    "dtype-bf16": (Ask({"dtype": "half"}, gpu="T4"), Ask(gpu="T4")),
    "dtype-fp32": (Ask(), Ask({"dtype": "float32"})),
    "image-arch": (Ask(gpu="B200", version="0.33.0", cuda="12.8"), Ask(gpu="B200")),
    "driver": (Ask(driver="550.54", cuda="12.4"), Ask(driver="470.82", cuda="12.4")),
    "gpus": (Ask({TP: 4}), Ask({TP: 4}, count=2)),
    "heads": (Ask({TP: 4}), Ask({TP: 8})),
    "kv-heads": (Ask({TP: 2}), Ask({TP: 3})),
    "kv-heads-repeat": (Ask({TP: 4}), Ask({TP: 4}, model="Qwen/Qwen2.5-VL-3B-Instruct")),
    "vit-mlp": (Ask({TP: 8}, model=VL72AWQ), Ask({TP: 8})),
    "mlp": (Ask({TP: 2}), Ask({TP: 5}, model="Qwen/Qwen3-8B")),
    "layers": (Ask({"pipeline-parallel-size": 4}), Ask({"pipeline-parallel-size": 30}, count=32)),
    "gpus-left": (Ask({TP: 4}), Ask({TP: 4}, count=6)),
    "q-missing": (Ask({"quantization": "fp8"}), Ask({"quantization": "awq"})),
    "q-mismatch": (Ask({"quantization": "awq_marlin"}, model=VL72AWQ), Ask({"quantization": "gptq"}, model=VL72AWQ)),
    "q-capability": (Ask({"quantization": "fp8"}), Ask({"quantization": "fp8"}, gpu="T4")),
    "q-awq-half": (
        Ask({"dtype": "half"}, model=VL72AWQ, gpu="T4"),
        Ask({"dtype": "bfloat16", "quantization": "awq"}, model=VL72AWQ),
    ),
    "q-awq-auto": (Ask(model=VL72AWQ), Ask({"quantization": "awq"}, model=VL72AWQ)),
    "q-align": (Ask({TP: 4}, model=VL72AWQ), Ask({TP: 4}, model=FIRST72)),
    "fp8-marlin": (Ask({"quantization": "fp8"}, gpu="L20"), Ask({"quantization": "fp8"})),
    "v1-off": (Ask(), Ask({"cpu-offload-gb": "10"})),
    "v1-forced": (Ask(env={"VLLM_USE_V1": "1"}), Ask(gpu="T4", env={"VLLM_USE_V1": "1"})),
    "v1-only": (Ask(env={"VLLM_USE_V1": "0"}), Ask(env={"VLLM_USE_V1": "0"}, version="0.24.0")),
    "kv-fp8-v0": (Ask({"kv-cache-dtype": "fp8"}, gpu="H20"), Ask({"kv-cache-dtype": "fp8"})),
    "kv-fp8-triton": (
        Ask({"kv-cache-dtype": "fp8_e5m2", "enable-prefix-caching": True}, model="Qwen/Qwen3-8B"),
        Ask({"kv-cache-dtype": "fp8", "enable-prefix-caching": True}, model="Qwen/Qwen3-8B"),
    ),
    "batch-lt-len": (
        Ask({"max-num-batched-tokens": 8192, "max-model-len": 8192}, gpu="T4"),
        Ask({"max-num-batched-tokens": 512, "max-model-len": 8192}, gpu="T4"),
    ),
    "batch-lt-seqs": (
        Ask({"max-num-batched-tokens": 512, "max-num-seqs": 256}),
        Ask({"max-num-batched-tokens": 512}),
    ),
    "util": (Ask({"gpu-memory-utilization": 0.9}), Ask({"gpu-memory-utilization": 1.5})),
    "mm-format": (
        Ask({"limit-mm-per-prompt": {"image": 0}}),
        Ask({"limit-mm-per-prompt": {"image": -1}}),
    ),
    "len-max": (
        Ask({"max-model-len": 200000}, env={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}),
        Ask({"max-model-len": 200000}),
    ),
    "swap-ram": (Ask({TP: 8, "swap-space": 0}, host_memory_gib=23.5), Ask({TP: 8}, host_memory_gib=23.5)),
    "swap-much": (Ask({TP: 4}, host_memory_gib=512), Ask({TP: 4}, host_memory_gib=32)),
    "block": (Ask({"block-size": 32}), Ask({"block-size": 8})),
    "sleep-expand": (
        Ask({"enable-sleep-mode": True}),
        Ask({"enable-sleep-mode": True}, env={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}),
    ),
    "pixels": (
        Ask({"mm-processor-kwargs": {"max_pixels": 1003520}}),
        Ask({"mm-processor-kwargs": {"max_pixels": 1280}}),
    ),
    "window": (Ask(), Ask(model="google/gemma-2-9b-it")),
    "mem-weights": (Ask({"max-model-len": 4096}), Ask(gpu="T4", model="Qwen/Qwen2.5-14B-Instruct")),
    "mem-kv": (Ask({TP: 4}, gpu="A100-80GB"), Ask({"gpu-memory-utilization": 0.2}, gpu="A100-80GB")),
    "mem-len": (
        Ask({"max-model-len": 8192, "max-num-seqs": 64, "limit-mm-per-prompt": {"image": 1, "video": 0}}),
        Ask({"max-model-len": 128000, "max-num-seqs": 64, "limit-mm-per-prompt": {"image": 1, "video": 0}}),
    ),
    "mem-graphs": (
        Ask({TP: 4, "gpu-memory-utilization": 0.97, "enforce-eager": True}, model=VL72AWQ, gpu="A100-40GB"),
        Ask({TP: 4, "gpu-memory-utilization": 0.97}, model=VL72AWQ, gpu="A100-40GB"),
    ),
    "mem-air": (
        Ask({TP: 4, "gpu-memory-utilization": 0.8}, model=VL72AWQ, gpu="A100-40GB"),
        Ask({TP: 4}, model=VL72AWQ, gpu="A100-40GB"),
    ),
    "mem-video": (Ask({"limit-mm-per-prompt": {"image": 1, "video": 0}}), Ask({"max-num-seqs": 16})),
}


def _rules(answer: Answer) -> set[str]:
    return {reason.rule for reason in answer.reasons}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_lets_pass_what_is_right(rule: str) -> None:
    assert rule not in _rules(CASES[rule][0].judge())


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_applies_to_what_is_wrong(rule: str) -> None:
    (reason,) = [r for r in CASES[rule][1].judge().reasons if r.rule == rule]
    assert reason.words
    assert reason.source


def test_every_rule_has_a_passing_and_a_failing_case() -> None:
    assert {rule.id for rule in (*RULES, *MEMORY_RULES)} == set(CASES)


def test_refusals_are_words_that_say_what_to_do_or_by_how_much() -> None:
    answer = replace(CASES["heads"][1]).judge()
    assert "28 attention heads don't divide by tensor-parallel-size 8" in [r.words for r in answer.refusals]
