"""What a gateway carries, step by step: a line each, JSON with every figure, a table, a plot."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import Machine
from gateway.bench import svg

KEEPS_UP = 0.98
WIDTH, HEIGHT = 900, 390
PANEL_WIDTH, PANEL_HEIGHT, PANEL_TOP = 350, 230, 92


@dataclass(frozen=True)
class Step:
    """A number of streams, open all at once, and what came of them."""

    workers: int
    streams: int
    tokens_per_s_asked: float
    tokens_per_s: float
    gateway_cores: float
    busiest_worker_cores: float
    us_per_token: float
    events_per_token: float
    gap_p50_ms: float
    gap_p99_ms: float
    lag_p50_ms: float
    lag_p99_ms: float
    triton_cores: float
    client_cores: float
    failures: list[str]

    @property
    def keeps_up(self) -> bool:
        """Tell whether the gateway handed on what came, and lost nothing."""
        return not self.failures and self.tokens_per_s >= KEEPS_UP * self.tokens_per_s_asked

    def __str__(self) -> str:
        line = ", ".join(f"{title} {show(self)}" for title, show in COLUMNS.items())
        failed = f"; {len(self.failures)} failed: {self.failures[0]}" if self.failures else ""
        return line + failed


COLUMNS: dict[str, Callable[[Step], str]] = {
    "workers": lambda step: f"{step.workers}",
    "streams": lambda step: f"{step.streams:,}",
    "tokens/s asked": lambda step: f"{step.tokens_per_s_asked:,.0f}",
    "had": lambda step: f"{step.tokens_per_s:,.0f}",
    "cores": lambda step: f"{step.gateway_cores:.2f}",
    "busiest worker": lambda step: f"{step.busiest_worker_cores:.2f}",
    "us/token": lambda step: f"{step.us_per_token:.1f}",
    "events/token": lambda step: f"{step.events_per_token:.2f}",
    "gap p50 / p99 ms": lambda step: f"{step.gap_p50_ms:.1f} / {step.gap_p99_ms:.1f}",
    "lag p50 / p99 ms": lambda step: f"{step.lag_p50_ms:.1f} / {step.lag_p99_ms:.1f}",
    "Tritons' cores": lambda step: f"{step.triton_cores:.2f}",
    "clients' cores": lambda step: f"{step.client_cores:.2f}",
}


@dataclass
class ScaleResults:
    """What was measured, on what, and how it was set up."""

    machine: Machine
    setup: dict[str, Any]
    steps: list[Step] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write scale.json, scale.md and scale.svg."""
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(self), indent=1)
        (folder / "scale.json").write_text(content + "\n")
        (folder / "scale.md").write_text(self.to_markdown())
        (folder / "scale.svg").write_text(self.to_svg())

    def to_markdown(self) -> str:
        """Return a table, a row a step; where the gateway fell behind, `had` is in bold."""
        rows = [f"| {' | '.join(COLUMNS)} |", "|" + "---:|" * len(COLUMNS)]
        for step in self.steps:
            cells = {title: show(step) for title, show in COLUMNS.items()}
            cells["had"] = cells["had"] if step.keeps_up else f"**{cells['had']}**"
            rows.append(f"| {' | '.join(cells.values())} |")
        return f"{self.machine}.\n\n" + "\n".join(rows) + "\n"

    def to_svg(self) -> str:
        """Return two panels, a curve for each number of workers."""
        parts = [
            svg.text(60, 28, "One gateway under more and more streams", size=16),
            svg.text(60, 48, str(self.machine), colour="#616e7c", size=11),
            *self._panel(60, "tokens/s had", lambda step: step.tokens_per_s),
            *self._panel(510, "cores that the gateway used", lambda step: step.gateway_cores),
        ]
        return svg.document(WIDTH, HEIGHT, parts)

    def _panel(self, left: float, title: str, value: Callable[[Step], float]) -> list[str]:
        x_ticks = svg.ticks(max((s.tokens_per_s_asked for s in self.steps), default=0), 4)
        y_ticks = svg.ticks(max(map(value, self.steps), default=0))

        def at(asked: float, height: float) -> svg.Point:
            x = left + PANEL_WIDTH * asked / x_ticks[-1]
            return x, PANEL_TOP + PANEL_HEIGHT * (1 - height / y_ticks[-1])

        parts = [svg.text(left, PANEL_TOP - 10, title)]
        for tick in y_ticks:
            parts.append(svg.line(at(0, tick), at(x_ticks[-1], tick)))
            parts.append(svg.text(left - 6, at(0, tick)[1] + 4, f"{tick:,g}", anchor="end"))
        for tick in x_ticks:
            x, y = at(tick, 0)
            parts.append(svg.text(x, y + 18, f"{tick:,g}", anchor="middle"))
        x, y = at(x_ticks[-1] / 2, 0)
        parts.append(svg.text(x, y + 38, "tokens/s asked", anchor="middle"))
        for number, workers in enumerate(sorted({step.workers for step in self.steps})):
            colour = svg.COLOURS[number % len(svg.COLOURS)]
            steps = [step for step in self.steps if step.workers == workers]
            points = [at(step.tokens_per_s_asked, value(step)) for step in steps]
            parts.append(svg.curve(points, colour))
            x, y = points[-1]
            name = f"{workers} worker{'s' if workers > 1 else ''}"
            parts.append(svg.text(x - 6, y - 8, name, anchor="end", colour=colour))
        return parts
