"""Two small charts without a library: rectangles, lines and text, as SVG in a page or as a PNG of their pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fleet.sizing.glyphs import GLYPHS, HEIGHT, WIDTH

WHITE, INK, GREY = (255, 255, 255), (40, 44, 52), (205, 208, 214)
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """A filled rectangle; all sizes in pixels, y downwards."""

    x: float
    y: float
    width: float
    height: float
    colour: Colour
    title: str = ""


@dataclass(frozen=True)
class Text:
    """A line of text, its left top corner at x, y; ``scale`` times 7 pixels high."""

    x: float
    y: float
    words: str
    scale: int = 2
    colour: Colour = INK


Shape = Box | Text


def svg(shapes: Sequence[Shape], width: int, height: int) -> str:
    """The shapes as one SVG element."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    ]
    for shape in shapes:
        colour = "#{:02x}{:02x}{:02x}".format(*shape.colour)
        if isinstance(shape, Box):
            title = f"<title>{escape(shape.title)}</title>" if shape.title else ""
            box = f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}"'
            parts.append(f'<rect {box} fill="{colour}">{title}</rect>')
        else:
            size = 7 * shape.scale
            place = f'x="{shape.x:.1f}" y="{shape.y + size:.1f}" font-size="{size}"'
            parts.append(f'<text {place} font-family="sans-serif" fill="{colour}">{escape(shape.words)}</text>')
    return "\n".join([*parts, "</svg>"])


def page(title: str, charts: Sequence[str]) -> str:
    """A page of its own, nothing loaded from elsewhere."""
    body = "\n".join(charts)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    return f"<!doctype html>\n<html><head>{head}</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"


def png(shapes: Sequence[Shape], width: int, height: int) -> bytes:
    """The shapes as a PNG: 8 bits a channel, no alpha."""
    rows = [bytearray(bytes(WHITE) * width) for _ in range(height)]
    for shape in shapes:
        if isinstance(shape, Box):
            _fill(rows, shape.x, shape.y, shape.width, shape.height, shape.colour)
        else:
            _write(rows, shape)
    raw = b"".join(b"\0" + bytes(row) for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    )


def _fill(rows: list[bytearray], x: float, y: float, width: float, height: float, colour: Colour) -> None:
    left, right = max(0, round(x)), min(len(rows[0]) // 3, round(x + width))
    if right <= left:
        return
    for row in rows[max(0, round(y)) : max(0, round(y + height))]:
        row[left * 3 : right * 3] = bytes(colour) * (right - left)


def _write(rows: list[bytearray], text: Text) -> None:
    x = text.x
    for letter in text.words.upper():
        for column, bits in enumerate(GLYPHS.get(letter, GLYPHS["?"])):
            for line in range(HEIGHT):
                if bits >> line & 1:
                    _fill(
                        rows, x + column * text.scale, text.y + line * text.scale, text.scale, text.scale, text.colour
                    )
        x += (WIDTH + 1) * text.scale


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
