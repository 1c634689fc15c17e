"""Figures of all contenders: as JSON with every value, as a table of medians, as a plot."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.cost import FIGURES
from bench.machine import Machine
from gateway.bench import svg

PLOTTED = (
    "us_per_token_32",
    "us_per_token_128",
    "us_per_token_triton",
    "ms_per_whole_answer",
)
WIDTH, LABEL_WIDTH, BAR_WIDTH, BAR_HEIGHT = 900, 140, 215, 16


@dataclass
class Results:
    """What was measured, on what: for each contender, the values of each figure."""

    machine: Machine
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, name: str, figures: dict[str, float]) -> None:
        """Note one repeat of a contender."""
        own = self.values.setdefault(name, {})
        for key, value in figures.items():
            own.setdefault(key, []).append(round(value, 3))

    def write(self, folder: Path) -> None:
        """Write cost.json, cost.md and cost.svg."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"machine": asdict(self.machine), "figures": FIGURES, "values": self.values}
        (folder / "cost.json").write_text(json.dumps(content, indent=1) + "\n")
        (folder / "cost.md").write_text(self.to_markdown())
        (folder / "cost.svg").write_text(self.to_svg())

    def to_markdown(self) -> str:
        """Return a table: medians, lowest and highest in brackets."""
        names = list(self.values)
        rows = [f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
        for key, title in FIGURES.items():
            cells = [_cell(self.values[name].get(key, [])) for name in names]
            rows.append(f"| {title} | {' | '.join(cells)} |")
        repeats = max(len(values) for own in self.values.values() for values in own.values())
        head = f"Medians of {repeats} repeats (lowest to highest).\n{self.machine}.\n"
        return head + "\n" + "\n".join(rows) + "\n"

    def to_svg(self) -> str:
        """Return bars for the figures of CPU, with a thin line from lowest to highest."""
        panel_height = 40 + len(self.values) * (BAR_HEIGHT + 8)
        parts = [
            svg.text(20, 28, "CPU of the gateway's processes; shorter is better", size=16),
            svg.text(20, 48, str(self.machine), colour="#616e7c", size=11),
        ]
        for number, key in enumerate(PLOTTED):
            left = 20 + (number % 2) * (WIDTH / 2)
            parts += self._panel(key, left, 70 + (number // 2) * panel_height)
        return svg.document(WIDTH, 80 + 2 * panel_height, parts)

    def _panel(self, key: str, left: float, top: float) -> list[str]:
        shown = {name: own[key] for name, own in self.values.items() if key in own}
        scale = BAR_WIDTH / max(map(max, shown.values()), default=1)
        parts = [svg.text(left, top + 14, FIGURES[key], size=13)]
        for row, (name, values) in enumerate(shown.items()):
            y = top + 26 + row * (BAR_HEIGHT + 8)
            middle = y + BAR_HEIGHT / 2
            x = left + LABEL_WIDTH
            median = statistics.median(values)
            colour = svg.COLOURS[row % len(svg.COLOURS)]
            parts.append(svg.text(x - 8, middle + 4, name, anchor="end"))
            parts.append(svg.box(x, y, median * scale, BAR_HEIGHT, colour))
            low, high = min(values) * scale, max(values) * scale
            parts.append(svg.line((x + low, middle), (x + high, middle), svg.INK))
            parts.append(svg.text(x + high + 6, middle + 4, short(median)))
        return parts


def short(value: float) -> str:
    """Return a number in about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{short(statistics.median(values))} ({short(min(values))} - {short(max(values))})"
