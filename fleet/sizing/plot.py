"""The two charts of ``size --plot``: one GPU's memory as a stacked bar, and KV tokens over the context's length."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.sizing.answer import Answer
from fleet.sizing.drawing import GREY, INK, Box, Colour, Shape, Text, page, png, svg

WIDTH, HEIGHT = 900, 420
LEFT, TOP, TALL = 70, 60, 300
COLOURS: dict[str, Colour] = {
    "weights": (63, 105, 170),
    "activations": (214, 126, 44),
    "CUDA and NCCL": (140, 140, 150),
    "KV cache": (74, 150, 92),
    "CUDA graphs": (150, 98, 168),
    "left over": (228, 231, 236),
}


def html(title: str, answers: Sequence[tuple[str, Answer]]) -> str:
    """Both charts in a page."""
    return page(title, [svg(bars(answers), WIDTH, HEIGHT), svg(contexts(answers), WIDTH, HEIGHT)])


def image(answers: Sequence[tuple[str, Answer]]) -> bytes:
    """Both charts in a PNG, one under the other."""
    below = [_moved(shape, HEIGHT) for shape in contexts(answers)]
    return png([*bars(answers), *below], WIDTH, 2 * HEIGHT)


def bars(answers: Sequence[tuple[str, Answer]]) -> list[Shape]:
    """A stacked bar for each answer: what fills one GPU, in GiB; what doesn't fit rises above the line."""
    shapes: list[Shape] = [Text(LEFT, 20, "GiB of one GPU")]
    stacks = [_stack(answer) for _, answer in answers]
    most = max([sum(stack.values()) for stack in stacks] + [answer.per_gpu.total_gib or 1 for _, answer in answers])
    step = (WIDTH - LEFT - 220) / max(1, len(answers))
    shapes += _axis(most)
    for index, ((name, answer), stack) in enumerate(zip(answers, stacks, strict=True)):
        x, y = LEFT + 10 + index * step, float(TOP + TALL)
        for part, gib in stack.items():
            tall = gib / most * TALL
            y -= tall
            shapes.append(Box(x, y, min(step * 0.7, 90), tall, COLOURS[part], f"{part}: {gib:.2f} GiB"))
        line = TOP + TALL - (answer.per_gpu.total_gib or 0) / most * TALL
        shapes += [Box(x - 4, line, min(step * 0.7, 90) + 8, 2, INK), Text(x, TOP + TALL + 10, name[:16], 1)]
    for index, (part, colour) in enumerate(COLOURS.items()):
        shapes += [Box(WIDTH - 200, TOP + index * 24, 14, 14, colour), Text(WIDTH - 180, TOP + index * 24, part, 2)]
    return shapes


def contexts(answers: Sequence[tuple[str, Answer]]) -> list[Shape]:
    """How many requests fit at once, over the context's length: KV tokens ÷ length."""
    shapes: list[Shape] = [Text(LEFT, 20, "requests at once over context length")]
    lengths = [1024 * 2**n for n in range(8)]
    most = max([(answer.kv_tokens or 0) / lengths[0] for _, answer in answers] + [1.0])
    shapes += _axis(most)
    wide = (WIDTH - LEFT - 40) / len(lengths)
    colours = list(COLOURS.values())
    for place, length in enumerate(lengths):
        shapes.append(Text(LEFT + 10 + place * wide, TOP + TALL + 10, f"{length // 1024}k", 2))
        each = wide * 0.8 / max(1, len(answers))
        for index, (name, answer) in enumerate(answers):
            fitting = (answer.kv_tokens or 0) / length
            tall = fitting / most * TALL
            x = LEFT + 10 + place * wide + index * each
            title = f"{name}: {fitting:.1f} requests of {length} tokens"
            shapes.append(Box(x, TOP + TALL - tall, max(2.0, each - 2), tall, colours[index % len(colours)], title))
    return shapes


def _stack(answer: Answer) -> dict[str, float]:
    gpu = answer.per_gpu
    parts = {
        "weights": gpu.weights_gib,
        "activations": gpu.activation_gib,
        "CUDA and NCCL": gpu.non_torch_gib,
        "KV cache": gpu.kv_gib,
        "CUDA graphs": gpu.cuda_graph_gib,
        "left over": gpu.headroom_gib,
    }
    return {name: max(0.0, value or 0.0) for name, value in parts.items()}


def _axis(most: float) -> list[Shape]:
    lines: list[Shape] = []
    for quarter in range(5):
        y = TOP + TALL - quarter / 4 * TALL
        lines += [Box(LEFT, y, WIDTH - LEFT - 230, 1, GREY), Text(8, y - 7, f"{most * quarter / 4:.0f}", 2)]
    return lines


def _moved(shape: Shape, down: int) -> Shape:
    if isinstance(shape, Box):
        return Box(shape.x, shape.y + down, shape.width, shape.height, shape.colour, shape.title)
    return Text(shape.x, shape.y + down, shape.words, shape.scale, shape.colour)
