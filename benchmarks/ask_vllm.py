"""Runs under vLLM's own Python: what its parser and its config step say to arguments, on a GPU that is only claimed.

    PYTHONPATH=TREE python3.11 -m benchmarks.ask_vllm '{"capability": [8, 6], "name": "NVIDIA A10", …}' < cases.jsonl

A case is ``{"model": DIRECTORY or "", "words": [...]}``, an answer ``{"stage", "error"}`` (``parse``, ``validate`` or
``config``) or the settings that the config step came to. Without a model only the parser is asked. No GPU and no
weights are needed: CUDA's platform is vLLM's own, with its questions to the driver answered here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import types
from typing import Any

QUIET = {
    "VLLM_LOGGING_LEVEL": "CRITICAL", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}  # fmt: skip
#: Kernels that a build for CPU doesn't have; the config step only asks whether they are there.
KERNELS = ("vllm.vllm_flash_attn", "vllm.vllm_flash_attn.flash_attn_interface")
LIBRARIES = ("vllm._C", "vllm._C_stable_libtorch", "vllm._moe_C")


class _Kernels(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: True


def remember(architectures: list[str]) -> None:
    """Let vLLM look into its model classes as the build that it is, and keep that in its own cache."""
    registry = importlib.import_module("vllm.model_executor.models.registry").ModelRegistry
    for name in architectures:
        registry.models[name].inspect_model_cls()


def claim(kind: dict[str, Any]) -> None:
    """Let vLLM believe that this machine has ``kind['count']`` GPUs of this kind."""
    for name in LIBRARIES:
        sys.modules.setdefault(name, types.ModuleType(name))
    for name in KERNELS:
        sys.modules[name] = _Kernels(name)
    platforms, cuda = importlib.import_module("vllm.platforms"), importlib.import_module("vllm.platforms.cuda")
    capability = importlib.import_module("vllm.platforms.interface").DeviceCapability(*kind["capability"])
    answers = {
        "get_device_capability": capability, "get_device_name": kind["name"], "is_fully_connected": False,
        "get_device_total_memory": kind["bytes"], "device_count": kind["count"],
    }  # fmt: skip
    methods = {name: classmethod(lambda *_, _said=said, **__: _said) for name, said in answers.items()}
    platforms.__dict__["_current_platform"] = type("Claimed", (cuda.NonNvmlCudaPlatform,), methods)()
    torch, ops = importlib.import_module("torch"), importlib.import_module("vllm._custom_ops")
    torch.cuda.get_device_capability = lambda *_, **__: tuple(kind["capability"])
    torch.cuda.device_count = torch.accelerator.device_count = lambda: kind["count"]
    for name, least in (("fp8", 89), ("block_fp8", 90), ("fp4", 100)):
        setattr(ops, f"cutlass_scaled_mm_supports_{name}", lambda sm, least=least: sm >= least)


def answers(cases: Any) -> Any:
    """One answer a case."""
    arguments = importlib.import_module("vllm.entrypoints.launchers.cli_args")
    engine = importlib.import_module("vllm.engine.arg_utils").AsyncEngineArgs
    usage = importlib.import_module("vllm.usage.usage_lib").UsageContext.OPENAI_API_SERVER
    parser_type = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    parser = arguments.make_arg_parser(parser_type(prog="vllm serve"))
    for case in cases:
        stage, said, answer = "parse", io.StringIO(), dict[str, Any]()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                parsed = parser.parse_args([case["model"] or "x", *case["words"]])
                stage = "validate"
                arguments.validate_parsed_serve_args(parsed)
                stage = "config"
                parsed.model = parsed.model_tag
                if case["model"]:
                    answer = _settings(engine.from_cli_args(parsed).create_engine_config(usage))
        except SystemExit:
            answer = {"stage": stage, "error": (said.getvalue().strip().splitlines() or [""])[-1]}
        except Exception as error:
            answer = {"stage": stage, "error": f"{type(error).__name__}: {error}".split(" [type=")[0]}
        yield answer


def _settings(config: Any) -> dict[str, Any]:
    model, scheduler, cache = config.model_config, config.scheduler_config, config.cache_config
    return {
        "dtype": str(model.dtype).removeprefix("torch."), "quantization": model.quantization,
        "max_model_len": model.max_model_len, "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "max_num_seqs": scheduler.max_num_seqs, "utilization": cache.gpu_memory_utilization,
    }  # fmt: skip


if __name__ == "__main__":
    os.environ.update(QUIET)
    told = json.loads(sys.argv[1])
    if "remember" in told:
        remember(told["remember"])
    else:
        claim(told)
        for answer in answers([json.loads(line) for line in sys.stdin]):  # at once: what is asked may start processes
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
