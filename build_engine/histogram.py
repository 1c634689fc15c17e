"""Distributions as bars: on the terminal, and as a small SVG. Knows no traces."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_BINS = 16
_WIDTH = 44
_BAR, _GAP, _LABEL, _ROW = 420, 4, 150, 18


@dataclass(frozen=True)
class Histogram:
    """How many values fall into each of equal ranges, and the limit chosen for them."""

    title: str
    edges: tuple[int, ...]
    counts: tuple[int, ...]
    limit: int

    @classmethod
    def of(cls, title: str, values: Sequence[int], limit: int) -> "Histogram":
        """Return the histogram of values from 0 to the greatest of them and the limit."""
        step = max(1, -(-(max(max(values), limit) + 1) // _BINS))
        counts = [0] * _BINS
        for value in values:
            counts[value // step] += 1
        edges = tuple(step * number for number in range(_BINS + 1))
        return cls(title, edges, tuple(counts), limit)

    @property
    def limited(self) -> int:
        """The number of the range that the limit is in."""
        return min(self.limit // self.edges[1], _BINS - 1)


def as_text(histogram: Histogram) -> str:
    """Return the histogram as lines; the range of the limit is marked."""
    most = max(histogram.counts)
    lines = [histogram.title]
    for at, count in enumerate(histogram.counts):
        bar = "█" * round(_WIDTH * count / most) or ("▏" if count else "")
        mark = f"  ◄ {histogram.limit:,}" if at == histogram.limited else ""
        span = f"{histogram.edges[at]:>7,} - {histogram.edges[at + 1] - 1:>7,}"
        lines.append(f"{span} {bar:<{_WIDTH}} {count:>7,}{mark}")
    return "\n".join(lines)


def as_svg(histograms: Sequence[Histogram]) -> str:
    """Return histograms below one another as one SVG image; limits are dashed lines."""
    parts, top = [], _ROW
    for histogram in histograms:
        parts.append(f'<text x="0" y="{top}" font-weight="bold">{escape(histogram.title)}</text>')
        most = max(histogram.counts)
        for at, count in enumerate(histogram.counts):
            y = top + _GAP + at * _ROW
            span = f"{histogram.edges[at]:,} - {histogram.edges[at + 1] - 1:,}"
            parts.append(f'<text x="0" y="{y + 13}">{span}</text>')
            width = _BAR * count / most
            parts.append(
                f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_ROW - _GAP}" '
                f'fill="#76b900"/><text x="{_LABEL + width + 6:.1f}" y="{y + 13}">{count:,}</text>'
            )
        y = top + (histogram.limited + 1) * _ROW
        parts.append(
            f'<line x1="{_LABEL}" x2="{_LABEL + _BAR}" y1="{y}" y2="{y}" stroke="#c00" '
            f'stroke-dasharray="6 4"/><text x="{_LABEL + _BAR + 60}" y="{y}" fill="#c00">'
            f"{histogram.limit:,}</text>"
        )
        top += (_BINS + 3) * _ROW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="700" height="{top}" font-size="12" '
    return f'{head}font-family="sans-serif">\n' + "\n".join(parts) + "\n</svg>\n"
