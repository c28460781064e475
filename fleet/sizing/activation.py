"""What vLLM's profiling run takes at its peak, in bytes on one GPU: vision tower, text, sampler; what isn't torch's.

Derived from the layers' shapes; the counts of live activations were fitted once to measured rows and are named here.
Checked by ``benchmarks/sizing``. Sources: V0 worker/worker.py and worker/model_runner.py profile_run; V1
v1/worker/gpu_model_runner.py profile_run and _dummy_sampler_run; models/qwen2_vl.py get_num_frames_with_most_features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fleet.sizing.gpus import Gpu
from fleet.sizing.model import Model
from fleet.sizing.settings import Settings, has
from fleet.sizing.vision import Vision

GIB = 1 << 30

#: Live hidden states beside the MLP's own: residual, input, normed input (Llama-3.1-8B V0: 2.07 and 2.99 GiB seen).
HIDDEN_LIVE = 3
#: Bytes a logit costs while sampling: V0 sorts (10 float copies seen), V1 keeps 16 bits and three floats, its second
#: runner 16 bits and one float.
LOGIT_BYTES = {"V0": 40, "V1": 14, "V1.2": 6}
#: Activations of patches × hidden that live at the tower's peak in attention, by how lean the release is.
TOWER_ATTENTION = {"V0": 18, "V1": 13, "lean": 7}
#: In its MLP: input, residual and their sum, beside the MLP's own.
TOWER_MLP = 3
#: Frames of the longest dummy video: 16 in 0.8, 14 since (_MAX_FRAMES_PER_VIDEO).
FRAMES = {"old": 16, "new": 14}
#: Neither torch's nor released: CUDA context as far as it is charged, cuBLAS, NCCL and custom all-reduce buffers.
NON_TORCH_GIB = {"V0": 0.2, "V1": 0.27, "V1-device": 0.5}
NON_TORCH_TP_GIB = 0.28


@dataclass(frozen=True)
class Peak:
    """Bytes at the profiling peak, and where it is: ``vision``, ``text`` or ``sampler``."""

    activation: int
    non_torch: int
    where: str


def peak(model: Model, gpu: Gpu, settings: Settings) -> Peak:
    """The profiling run's peak on one GPU."""
    value = 4 if settings.dtype == "float32" else 2
    hidden = model.hidden * value
    kept, vision, media_tokens = _media(model, gpu, settings, value)
    tokens = settings.batched_tokens
    if settings.engine == "V0":
        tokens = max(tokens, media_tokens)  # one dummy sequence holds all media at once
        kept += media_tokens and tokens * hidden  # the embeddings that text and media were merged into
    text = kept + text_forward(model, settings.tp, tokens, value)
    rows = min(settings.max_seqs, settings.batched_tokens)
    kind = settings.engine if settings.runner == 1 else "V1.2"
    sampler = kept + 2 * tokens * hidden + rows * model.vocab * LOGIT_BYTES[kind]
    if settings.engine == "V0":
        sampler = kept + tokens * hidden + (1 if media_tokens else rows) * model.vocab * LOGIT_BYTES[kind]
    peaks = {"vision": vision, "text": text, "sampler": sampler}
    where = max(peaks, key=lambda name: peaks[name])
    return Peak(peaks[where], _non_torch(settings), where)


def text_forward(model: Model, tp: int, tokens: int, value: int = 2) -> int:
    """The forward pass over ``tokens``: hidden states and the widest of MLP, attention and experts."""
    hidden = HIDDEN_LIVE * tokens * model.hidden
    mlp = tokens * 3 * math.ceil(model.intermediate / tp)  # gate, up and their product
    attention = tokens * (2 * model.heads + 2 * model.kv_heads) * model.head_dim // tp
    widest = max(mlp, attention)
    if model.experts:
        experts = model.experts
        routed = tokens * experts.per_token
        moe = routed * 3 * math.ceil(experts.intermediate / tp) + routed * model.hidden
        widest = max(widest if experts.dense_layers else attention, moe)
    return value * (hidden + widest)


def video_tokens(vision: Vision, settings: Settings) -> int:
    """Tokens of the longest dummy video: pairs of frames as large as the largest image, as many as fit the context."""
    frame = vision.image_tokens(settings.max_pixels)
    room = settings.max_model_len
    if has(settings.version, "media-unlimited"):
        share, most = 1, FRAMES["new"]
    else:
        room -= frame * settings.images
        share, most = max(1, settings.videos), FRAMES["old"]
    frames = min(max(room, 0) // frame * 2 // share, most)
    return frame * max(1, math.ceil(frames / vision.temporal))


def _media(model: Model, gpu: Gpu, settings: Settings, value: int) -> tuple[int, int, int]:
    """``(bytes kept through the run, peak in the tower, tokens of all media in V0's dummy prompt)``."""
    vision = model.vision
    if vision is None or not settings.media:
        return 0, 0, 0
    image = vision.image_tokens(settings.max_pixels) if settings.images else 0
    video = video_tokens(vision, settings) if settings.videos else 0
    if settings.engine == "V0":
        tokens = settings.images * image + settings.videos * video
        kept = _pixels(vision, tokens, 4) + tokens * model.hidden * value
        widest = max(settings.images * image, settings.videos * video)
        return (
            kept,
            _pixels(vision, tokens, 4) + _tower(vision, widest, settings.tp, value, TOWER_ATTENTION["V0"]),
            tokens,
        )
    item = max(image, video)
    limit = settings.images if image >= video else settings.videos
    budget = max(settings.batched_tokens, item)
    fitting = budget // item if has(settings.version, "media-unlimited") else math.ceil(budget / item)
    items = max(1, min(fitting, settings.max_seqs * limit))
    tokens = items * item
    pixels = _pixels(vision, tokens, value)
    lean = has(settings.version, "tower-lean") and gpu.capability[0] == 9
    tower = _tower(vision, tokens, settings.tp, value, TOWER_ATTENTION["lean" if lean else "V1"])
    return pixels + tokens * model.hidden * value, pixels + tower, 0


def _tower(vision: Vision, tokens: int, tp: int, value: int, attention: int) -> int:
    """The tower's peak over ``tokens`` without the pixels."""
    patches = vision.patches_of(tokens)
    gates = 3 if vision.kind in ("qwen2_5", "pixtral") else 2
    mlp = TOWER_MLP * vision.hidden + gates * math.ceil(vision.intermediate / tp)
    return value * patches * max(mlp, attention * vision.hidden)


def _pixels(vision: Vision, tokens: int, value: int) -> int:
    return vision.patches_of(tokens) * vision.patch_values * value


def _non_torch(settings: Settings) -> int:
    kind: str = settings.engine
    if kind == "V1" and not has(settings.version, "v1-profiles-increase"):
        kind = "V1-device"
    gib = NON_TORCH_GIB[kind] + (NON_TORCH_TP_GIB if settings.tp * settings.pp > 1 else 0)
    return int(gib * GIB)
