"""The little SVG that plots need: text, lines, boxes, and an axis with round numbers."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

INK, FAINT, PAPER = "#1f2933", "#d9dee3", "#ffffff"
COLOURS = ("#0b6e99", "#d9730d", "#5b8c2a", "#9065b0", "#8a8f98")

Point = tuple[float, float]


def document(width: float, height: float, parts: Sequence[str]) -> str:
    """Return a whole SVG file."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" '
            'font-family="system-ui, Helvetica, Arial, sans-serif" font-size="12">',
            box(0, 0, width, height, PAPER),
            *parts,
            "</svg>\n",
        ]
    )


def text(
    x: float, y: float, content: str, *, anchor: str = "start", colour: str = INK, size: int = 12
) -> str:
    """Return a line of text, `anchor` of it at x."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-size="{size}">{escape(content)}</text>'
    )


def line(start: Point, end: Point, colour: str = FAINT) -> str:
    """Return a thin straight line."""
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}"/>'
    )


def curve(points: Sequence[Point], colour: str, *, is_dashed: bool = False) -> str:
    """Return points joined by a line, a dot on each."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="5 4"' if is_dashed else ""
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>{dots}'
    )


def box(x: float, y: float, width: float, height: float, colour: str) -> str:
    """Return a filled rectangle."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
    )


def ticks(highest: float, about: int = 5) -> list[float]:
    """Return round numbers from 0 to just above `highest`, about so many."""
    if not highest > 0:
        return [0.0, 1.0]
    rough = highest / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    return [step * i for i in range(math.ceil(highest / step * 0.999) + 1)]
