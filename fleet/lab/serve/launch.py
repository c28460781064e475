"""``vllm serve MODEL …`` as the image has it: vLLM's own parser judges the arguments, then a CPU serves what it can.

``FLEETLAB_SERVES`` is ``real`` or ``stand-in``; the default is the real one where the image holds it. What a CPU
can't do (several GPUs, quantized kernels, fp8) is taken out of the *parsed* arguments, and said on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VLLM = Path("/opt/vllm/vllm")
VERSION = "0.32.0"
#: Parsed argument → what takes its place. None of these can be had on a CPU of a few cores.
ON_A_CPU: dict[str, Any] = {
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "data_parallel_size": 1,
    "quantization": None,
    "kv_cache_dtype": "auto",
    "cpu_offload_gb": 0,
}
#: Half precision that this CPU computes slowly or not at all → the one that it does.
DTYPES = {"half": "bfloat16", "float16": "bfloat16"}
MAX_SEQUENCES, MAX_BATCHED_TOKENS = 4, 2048
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; else vLLM takes most of the machine's memory
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the cores are shared with other hosts of the lab
    "OMP_NUM_THREADS": "2",
    # The image has no C++ compiler, and torch.compile wants one: a request for logprobs would end the engine.
    "TORCHDYNAMO_DISABLE": "1",
}


def main(words: Sequence[str]) -> int:
    """Serve; the exit code is vLLM's (2 for wrong arguments, 1 for what fails later)."""
    if words[:1] in (["--version"], ["-v"]):
        print(VERSION)
        return 0
    if words[:1] != ["serve"]:
        print(f"vllm: error: the lab's image knows `vllm serve`, not {' '.join(words[:1])!r}", file=sys.stderr)
        return 2
    engine = os.environ.get("FLEETLAB_SERVES") or ("real" if VLLM.is_dir() else "stand-in")
    if engine == "stand-in":
        from . import stand_in

        return stand_in.main(words[1:])
    return _serve_real(words[1:])


def adapt(parsed: Any) -> list[str]:
    """Change what a CPU can't do in vLLM's parsed arguments; each change in words."""
    said = []
    wanted = {**ON_A_CPU, "dtype": DTYPES.get(str(parsed.dtype), parsed.dtype)}
    for name, value in wanted.items():
        given = getattr(parsed, name, value)
        if given is not None and given != value:
            said.append(f"{name.replace('_', '-')} {given} → {value or 'none'}")
        setattr(parsed, name, value)
    parsed.enforce_eager = True
    parsed.max_num_seqs = min(parsed.max_num_seqs or MAX_SEQUENCES, MAX_SEQUENCES)
    parsed.max_num_batched_tokens = min(parsed.max_num_batched_tokens or MAX_BATCHED_TOKENS, MAX_BATCHED_TOKENS)
    images = dict(parsed.limit_mm_per_prompt or {})
    parsed.limit_mm_per_prompt = {"image": 2, "video": 0} | images
    return said


def _serve_real(words: Sequence[str]) -> int:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # These exist in the container only.
    from vllm.entrypoints.cli.serve import ServeSubcommand  # type: ignore[import-not-found, unused-ignore]  # in the container only
    from vllm.entrypoints.launchers.cli_args import (  # type: ignore[import-not-found, unused-ignore]  # in the container only
        make_arg_parser,
        validate_parsed_serve_args,
    )
    from vllm.utils.argparse_utils import (  # type: ignore[import-not-found, unused-ignore]  # in the container only
        FlexibleArgumentParser,
    )

    parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    parsed = parser.parse_args(list(words))
    validate_parsed_serve_args(parsed)
    for change in adapt(parsed):
        print(f"lab: a CPU serves here: {change}", file=sys.stderr, flush=True)
    if parsed.model_tag is not None:
        parsed.model = parsed.model_tag
    ServeSubcommand.cmd(parsed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
