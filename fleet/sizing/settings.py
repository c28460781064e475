"""What vLLM makes of the arguments on this GPU: engine, dtype, kernels, batch sizes, with its defaults filled in.

Sources, by release: vllm/engine/arg_utils.py and vllm/config.py of 0.8.2 (checked there by its own config step on five
GPUs), vllm/config/ of 0.24. What changed when is in ``data/behaviour.json``, one row a change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fleet.sizing.data import read
from fleet.sizing.gpus import Gpu
from fleet.sizing.model import Model
from fleet.sizing.quantization import Quantization, at_load
from fleet.sizing.versions import at_least

Engine = Literal["V0", "V1"]
_UNITS = {"": 1, "k": 1000, "m": 10**6, "g": 10**9, "K": 1024, "M": 1 << 20, "G": 1 << 30}
MOST = 10**12  # larger numbers say nothing more, and are cut to this
_AUTO_CHUNK_ABOVE = 32768  # V0 splits prompts by itself above this context


def has(version: str, behaviour: str) -> bool:
    """Whether a change of ``data/behaviour.json`` is in this version."""
    return at_least(version, read("behaviour.json")["since"][behaviour]["version"])


@dataclass(frozen=True)
class Arguments:
    """Arguments by exact name, read as vLLM would; what can't be read counts as not given (the check has said so)."""

    values: Mapping[str, object]

    def given(self, name: str) -> bool:
        """Whether the option was given at all (a flag that is False wasn't)."""
        return self.values.get(name) not in (None, False)

    def text(self, name: str, default: str = "") -> str:
        """The value as text."""
        value = self.values.get(name)
        return default if value is None or isinstance(value, bool) else str(value)

    def number(self, name: str) -> int | None:
        """A whole number; ``32k`` is 32000 and ``32K`` 32768, as newer parsers read it."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", self.text(name).strip())
        return min(MOST, int(float(match.group(1)[:30]) * _UNITS[match.group(2)])) if match else None

    def share(self, name: str) -> float | None:
        """A number with a point; none for what is no finite number."""
        try:
            value = float(self.text(name))
        except ValueError:
            return None
        return value if abs(value) < MOST else None

    def counts(self, name: str) -> Mapping[str, int]:
        """A mapping of names to whole numbers from 0 on; what is no such number counts as not given."""
        given = self.mapping(name)
        return {key: int(value) for key, value in given.items() if _is_count(value) or str(value).isdigit()}

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A mapping: as YAML gave it, as JSON, as ``image=5,video=0``, or from dotted options (``name.key``)."""
        value = self.values.get(name)
        found: dict[str, Any] = {}
        if isinstance(value, Mapping):
            found = dict(value)
        elif isinstance(value, str) and value.strip().startswith("{"):
            try:
                loaded = json.loads(value)
                found = loaded if isinstance(loaded, dict) else {}
            except ValueError:
                found = {}
        elif isinstance(value, str):
            found = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", value)}
        for dotted, inner in self.values.items():
            if dotted.startswith(f"{name}.") and str(inner).isdigit():
                found[dotted[len(name) + 1 :]] = int(str(inner))
        return found


@dataclass(frozen=True)
class Settings:
    """One server as it would run; lengths in tokens; ``util`` is the share of a GPU's memory that it may use."""

    version: str
    engine: Engine
    runner: int
    v0_because: tuple[str, ...]
    tp: int
    pp: int
    dp: int
    dtype: str
    kernel: str | None
    quantization: Quantization | None
    kv_dtype: str
    max_model_len: int
    derived_len: int
    batched_tokens: int
    max_seqs: int
    chunked: bool
    util: float
    eager: bool
    images: int
    videos: int
    max_pixels: int
    kv_bytes_fixed: int | None
    cpu_offload_gib: float
    enable_lora: bool

    @property
    def gpus(self) -> int:
        """GPUs that one server takes."""
        return self.tp * self.pp * self.dp

    @property
    def kv_value_bytes(self) -> float:
        """Bytes of one value in the KV cache."""
        if self.kv_dtype == "auto":
            return 4 if self.dtype == "float32" else 2
        return 1 if "8" in self.kv_dtype and "float" not in self.kv_dtype else (0.5 if "4" in self.kv_dtype else 2)

    @property
    def media(self) -> bool:
        """Whether any image or video may be asked about."""
        return self.images > 0 or self.videos > 0


def resolve(model: Model, gpu: Gpu, version: str, args: Arguments, env: Mapping[str, str]) -> Settings:
    """The settings that vLLM ``version`` would end up with; nothing is refused here."""
    dtype = resolve_dtype(model, gpu, version, args)
    kernel, quantization = resolve_quantization(model, gpu, version, args)
    kv_dtype = args.text("kv-cache-dtype", "auto")
    because = () if has(version, "v1-only") else v0_reasons(model, gpu, args, env, dtype, kernel)
    engine: Engine = "V0" if because else "V1"
    derived = model.max_positions
    length = args.number("max-model-len") or derived
    limits = args.counts("limit-mm-per-prompt")
    unlimited = 999 if has(version, "media-unlimited") else 1
    seen = model.vision is not None and not args.given("language-model-only")
    images = limits.get("image", unlimited) if seen else 0
    videos = limits.get("video", unlimited) if seen and model.vision and model.vision.video else 0
    settings = Settings(
        version=version,
        engine=engine,
        runner=_runner(model, version, env, quantization) if engine == "V1" else 1,
        v0_because=because,
        tp=args.number("tensor-parallel-size") or 1,
        pp=args.number("pipeline-parallel-size") or 1,
        dp=args.number("data-parallel-size") or 1,
        dtype=dtype,
        kernel=kernel,
        quantization=quantization,
        kv_dtype=kv_dtype,
        max_model_len=length,
        derived_len=derived,
        batched_tokens=0,
        max_seqs=0,
        chunked=False,
        util=args.share("gpu-memory-utilization") or (0.92 if has(version, "util-092") else 0.9),
        eager=args.given("enforce-eager"),
        images=images,
        videos=videos,
        max_pixels=max_pixels(model, args),
        kv_bytes_fixed=args.number("kv-cache-memory-bytes"),
        cpu_offload_gib=args.share("cpu-offload-gb") or 0.0,
        enable_lora=args.given("enable-lora"),
    )
    return _batch(settings, model, gpu, args)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST


def marlin_from(version: str) -> int:
    """The least compute capability for which a release has Marlin's kernels."""
    return 75 if has(version, "marlin-turing") else 80


def resolve_dtype(model: Model, gpu: Gpu, version: str, args: Arguments) -> str:
    """The dtype of activations: ``auto`` is the config's; half for float32, or where there is no bfloat16."""
    asked = args.text("dtype", "auto")
    if asked == "auto":
        if model.dtype == "bfloat16" and gpu.sm < 80 and has(version, "auto-half"):
            return "float16"
        return "float16" if model.dtype in ("float32", "float") else model.dtype
    return {"half": "float16", "float": "float32"}.get(asked, asked)


def resolve_quantization(
    model: Model, gpu: Gpu, version: str, args: Arguments
) -> tuple[str | None, Quantization | None]:
    """The kernel that runs (``awq_marlin``, ``gptq``, ``fp8``…) and how the weights lie in memory."""
    asked = args.text("quantization").lower()
    stored = model.quantization
    if stored is None:
        made = at_load(asked)
        return (asked or None, made)
    if stored.method in ("awq", "gptq"):
        pinned = asked == stored.method and not has(version, "kernels-by-shape")
        marlin = gpu.sm >= marlin_from(version) and not pinned
        kernel = f"{stored.method}_marlin" if marlin else stored.method
        if kernel == "awq_marlin" and has(version, "marlin-wide-zeros"):
            stored = replace(stored, zero_bits=16)
        return kernel, stored
    return stored.method, stored


def v0_reasons(
    model: Model, gpu: Gpu, args: Arguments, env: Mapping[str, str], dtype: str, kernel: str | None
) -> tuple[str, ...]:
    """Why this falls back to the V0 engine where there still is one; empty for V1 (0.8.2's _is_v1_supported_oracle)."""
    if env.get("VLLM_USE_V1") == "0":
        return ("VLLM_USE_V1=0",)
    forced = env.get("VLLM_USE_V1") == "1"
    because = [
        f"--{name}"
        for name in (
            "cpu-offload-gb",
            "preemption-mode",
            "additional-config",
            "kv-transfer-config",
            "otlp-traces-endpoint",
        )
        if args.given(name) and args.text(name) not in ("0", "0.0")
    ]
    if (args.number("num-scheduler-steps") or 1) > 1:
        because.append("--num-scheduler-steps")
    if gpu.sm < 80:
        because.append(f"compute capability {gpu.capability[0]}.{gpu.capability[1]}")
    if args.text("kv-cache-dtype", "auto") != "auto" and gpu.capability[0] != 9:
        because.append("--kv-cache-dtype without FlashAttention 3")
    if args.text("scheduling-policy") == "priority":
        because.append("--scheduling-policy priority")
    if kernel in ("bitsandbytes", "gguf"):
        because.append(f"quantization {kernel}")
    if args.text("task", "auto") not in ("auto", "generate"):
        because.append(f"--task {args.text('task')}")
    if dtype == "float32":
        because.append("float32")
    if not forced:
        because += ["--pipeline-parallel-size"] if (args.number("pipeline-parallel-size") or 1) > 1 else []
        because += ["--enable-lora"] if args.given("enable-lora") else []
    if env.get("VLLM_ATTENTION_BACKEND") in ("FLASHINFER", "XFORMERS"):
        because.append(f"VLLM_ATTENTION_BACKEND={env['VLLM_ATTENTION_BACKEND']}")
    return tuple(because)


def _runner(model: Model, version: str, env: Mapping[str, str], quantization: Quantization | None) -> int:
    """Which of V1's two model runners: the second profiles a lighter sampler and doesn't charge CUDA graphs."""
    chosen = env.get("VLLM_USE_V2_MODEL_RUNNER")
    if chosen in ("0", "1"):
        return 2 if chosen == "1" else 1
    if has(version, "runner-2-all"):
        return 2
    stored = quantization is not None and not quantization.at_load
    if has(version, "runner-2-dense") and model.vision is None and model.experts is None:
        return 2
    first = read("behaviour.json")["runner_2_first"]
    return 2 if has(version, "runner-2-first") and model.architecture in first and not stored else 1


def _batch(settings: Settings, model: Model, gpu: Gpu, args: Arguments) -> Settings:
    """Fill in the batch sizes: by engine, GPU and release."""
    if settings.engine == "V0":
        chunked = settings.max_model_len > _AUTO_CHUNK_ABOVE and model.vision is None
        if args.values.get("enable-chunked-prefill") not in (None,):
            chunked = str(args.values["enable-chunked-prefill"]).lower() == "true"
        floor = 5120 if model.vision else 2048
        tokens = args.number("max-num-batched-tokens") or (2048 if chunked else max(settings.max_model_len, floor))
        return replace(settings, batched_tokens=tokens, max_seqs=args.number("max-num-seqs") or 256, chunked=chunked)
    name = gpu.smi_name.lower()
    if has(settings.version, "batch-by-memory"):
        big = gpu.total_gib >= 70 and "a100" not in name
        seqs = 1024 if big else 256
    else:
        big = "h100" in name or "h200" in name
        seqs = 1024
    seqs = args.number("max-num-seqs") or seqs
    chunked = args.values.get("enable-chunked-prefill") is not False or not has(settings.version, "unchunked-v1")
    usual = 8192 if big else 2048
    tokens = args.number("max-num-batched-tokens") or (usual if chunked else max(settings.max_model_len, usual))
    return replace(settings, batched_tokens=tokens, max_seqs=seqs, chunked=chunked)


def max_pixels(model: Model, args: Arguments) -> int:
    """How many pixels an image may have, by ``mm-processor-kwargs`` or the model's preprocessor; 0 without a tower."""
    if model.vision is None:
        return 0
    given = args.mapping("mm-processor-kwargs")
    size = given.get("size")
    most = given.get("max_pixels") or (size.get("longest_edge") if isinstance(size, Mapping) else None)
    smallest = model.vision.tile**2
    known = isinstance(most, (int, float)) and not isinstance(most, bool) and 0 < most < MOST
    return max(int(most), smallest) if known and most else model.vision.max_pixels
