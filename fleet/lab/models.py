"""The models that the lab's hub has: a tiny random Qwen2.5-VL under the names of the real ones.

The layout is the published one (names of tensors, shards with an index, a tokenizer, a chat template), so that clients,
checks and vLLM itself have all of their work; only the sizes are the lab's. Written with the standard library alone,
and the same bytes each time.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fleet.lab import machine

#: The names under which it is served. The AWQ one isn't quantized: a CPU couldn't run it if it were.
NAMES: Final = (
    "Qwen/Qwen2.5-VL-3B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "Qwen/Qwen2.5-VL-72B-Instruct-AWQ",
)
_HIDDEN: Final = 64
_MIDDLE: Final = 8192  # wide for its depth: files of some MB are worth cutting off and resuming
_LAYERS: Final = 2
_HEADS: Final = 2
_PATCH: Final = 3 * 2 * 14 * 14
_VOCABULARY: Final = 1024
_SPECIAL: Final = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_FIRST_SPECIAL: Final = _VOCABULARY - len(_SPECIAL)
_CHAT: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def place() -> Path:
    """Where the hub finds them: a place of this file's own, since what an older one wrote isn't what it promises."""
    return machine.work() / "models" / machine.key_of(Path(__file__).read_bytes())


def make(kind: str, say: Callable[[str], None]) -> None:
    """Put every model into ``place()/<owner>/<name>``, the same for either ``kind`` of server."""
    for other in place().parent.glob("*"):
        if other != place():
            shutil.rmtree(other)
    for seed, name in enumerate(NAMES):
        home = place() / name
        if home.exists():
            continue
        say(f"writing the tiny {name} for the {kind} server")
        draft = home.with_name(f".{home.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        write(draft, seed)
        draft.rename(home)


def write(place: Path, seed: int) -> None:
    """Write one model's files; its weights are drawn from ``seed``."""
    for name, content in _documents().items():
        (place / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    numbers = random.Random(seed)
    shards: dict[str, dict[str, tuple[int, ...]]] = {}
    for tensor, shape in _tensors():
        first = not tensor.startswith("model.layers.1") and tensor not in ("model.norm.weight", "lm_head.weight")
        shards.setdefault(f"model-0000{1 if first else 2}-of-00002.safetensors", {})[tensor] = shape
    total = sum(_write_shard(place / shard, tensors, numbers) for shard, tensors in shards.items())
    index = {
        "metadata": {"total_size": total},
        "weight_map": {tensor: shard for shard, tensors in shards.items() for tensor in tensors},
    }
    (place / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    for file in place.iterdir():
        file.chmod(0o644)  # whatever the umask here: a server may run as anybody


def _write_shard(path: Path, tensors: Mapping[str, tuple[int, ...]], numbers: random.Random) -> int:
    """One safetensors file in bfloat16: the length of the header, the header, the numbers. Returns their bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    pieces: list[bytes] = []
    end = 0
    for name, shape in tensors.items():
        count = 1
        for size in shape:
            count *= size
        ones = name.endswith(("layernorm.weight", "norm.weight", "norm1.weight", "norm2.weight", "ln_q.weight"))
        piece = b"\x80\x3f" * count if ones else _small_numbers(count, numbers)
        if name == "lm_head.weight":
            piece = _only_words(piece)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + len(piece)]}
        end += len(piece)
        pieces.append(piece)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(pieces))
    return end


def _small_numbers(count: int, numbers: random.Random) -> bytes:
    """``count`` bfloat16 numbers between 0.004 and 0.03 of either sign, by their bits: the exponent kept small."""
    drawn = bytearray(numbers.randbytes(2 * count))
    drawn[1::2] = bytes(high & 0x80 | 0x3C for high in drawn[1::2])  # sign as drawn, exponent 120 or 121
    return bytes(drawn)


def _only_words(rows: bytes) -> bytes:
    """The last layer without what scores single bytes and special tokens: it answers words, as long as it is asked to.

    A random model would answer halves of characters too, for which a server has tokens and no text.
    """
    size = 2 * _HIDDEN
    words = range(len(_byte_letters()), _FIRST_SPECIAL)
    return bytes(words.start * size) + rows[words.start * size : words.stop * size] + bytes(len(_SPECIAL) * size)


def _tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor's published name, and its shape here."""
    yield "model.embed_tokens.weight", (_VOCABULARY, _HIDDEN)
    yield "visual.patch_embed.proj.weight", (_HIDDEN, 3, 2, 14, 14)
    for n in range(_LAYERS):
        block = f"visual.blocks.{n}"
        yield from _linear(f"{block}.attn.qkv", 3 * _HIDDEN, _HIDDEN)
        yield from _linear(f"{block}.attn.proj", _HIDDEN, _HIDDEN)
        yield from _linear(f"{block}.mlp.gate_proj", 2 * _HIDDEN, _HIDDEN)
        yield from _linear(f"{block}.mlp.up_proj", 2 * _HIDDEN, _HIDDEN)
        yield from _linear(f"{block}.mlp.down_proj", _HIDDEN, 2 * _HIDDEN)
        yield f"{block}.norm1.weight", (_HIDDEN,)
        yield f"{block}.norm2.weight", (_HIDDEN,)
    yield "visual.merger.ln_q.weight", (_HIDDEN,)
    yield from _linear("visual.merger.mlp.0", 4 * _HIDDEN, 4 * _HIDDEN)
    yield from _linear("visual.merger.mlp.2", _HIDDEN, 4 * _HIDDEN)
    for n in range(_LAYERS):
        layer = f"model.layers.{n}"
        for part in "qkv":
            yield from _linear(f"{layer}.self_attn.{part}_proj", _HIDDEN, _HIDDEN)
        yield f"{layer}.self_attn.o_proj.weight", (_HIDDEN, _HIDDEN)
        yield f"{layer}.mlp.gate_proj.weight", (_MIDDLE, _HIDDEN)
        yield f"{layer}.mlp.up_proj.weight", (_MIDDLE, _HIDDEN)
        yield f"{layer}.mlp.down_proj.weight", (_HIDDEN, _MIDDLE)
        yield f"{layer}.input_layernorm.weight", (_HIDDEN,)
        yield f"{layer}.post_attention_layernorm.weight", (_HIDDEN,)
    yield "model.norm.weight", (_HIDDEN,)
    yield "lm_head.weight", (_VOCABULARY, _HIDDEN)


def _linear(name: str, out: int, into: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, into)
    yield f"{name}.bias", (out,)


def _documents() -> dict[str, Any]:
    """The JSON files, by name."""
    ids = {token: _FIRST_SPECIAL + n for n, token in enumerate(_SPECIAL)}
    return {
        "config.json": _config(ids),
        "generation_config.json": {"eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"]},
        "preprocessor_config.json": {
            "min_pixels": 3136, "max_pixels": 12544, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor",
        },
        "tokenizer.json": _tokenizer(ids),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 131072, "chat_template": _CHAT,
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "clean_up_tokenization_spaces": False,
            "additional_special_tokens": list(_SPECIAL[1:]),
        },
    }  # fmt: skip


def _config(ids: Mapping[str, int]) -> dict[str, Any]:
    """config.json as Qwen2.5-VL's is published, with the lab's sizes."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        "eos_token_id": ids["<|im_end|>"], "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"], "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"], "vision_token_id": ids["<|vision_pad|>"],
        "hidden_act": "silu", "hidden_size": _HIDDEN, "intermediate_size": _MIDDLE, "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS, "num_key_value_heads": _HEADS, "max_position_embeddings": 128000,
        "max_window_layers": _LAYERS, "sliding_window": 32768, "use_sliding_window": False, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": _VOCABULARY,
        "vision_config": {
            "depth": _LAYERS, "hidden_act": "silu", "hidden_size": _HIDDEN, "intermediate_size": 2 * _HIDDEN,
            "num_heads": _HEADS, "in_chans": 3, "in_channels": 3, "out_hidden_size": _HIDDEN, "patch_size": 14,
            "spatial_merge_size": 2, "spatial_patch_size": 14, "window_size": 112, "fullatt_block_indexes": [1],
            "tokens_per_second": 2, "temporal_patch_size": 2,
        },
    }  # fmt: skip


def _tokenizer(ids: Mapping[str, int]) -> dict[str, Any]:
    """A byte-level tokenizer: one token a byte, names for the rest of the vocabulary, and the special ones."""
    alphabet = _byte_letters()
    vocabulary = {letter: n for n, letter in enumerate(alphabet)}
    # A random model samples any id: each has a text, or the server would find nothing to say for it.
    vocabulary |= {f"Ġw{n}": n for n in range(len(alphabet), _FIRST_SPECIAL)}
    added = [
        {"id": n, "content": token, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for token, n in ids.items()
    ]  # fmt: skip
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": bytewise, "post_processor": None, "decoder": bytewise,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocabulary, "merges": [],
        },
    }  # fmt: skip


def _byte_letters() -> list[str]:
    """The 256 letters by which byte-level tokenizers write bytes: printable ones as they are, the rest from U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]
