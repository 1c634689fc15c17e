"""A sweep drawn: what the endpoint yields against how long one waits, a dot per concurrency."""

import math
from collections.abc import Callable

from gateway.bench import svg
from gateway.bench.figures import Level, Percentiles
from gateway.bench.report import Report

WIDTH, HEIGHT = 900, 390
PANEL_WIDTH, PANEL_HEIGHT, PANEL_TOP = 350, 230, 92


def draw(report: Report) -> str:
    """Return an SVG with two panels: time to first token, and time between tokens."""
    levels = [level for level in report.levels if level.answered]
    parts = [
        svg.text(60, 28, f"{report.model}: latency against throughput", size=16),
        svg.text(60, 48, f"{report.workload}; numbers are concurrent streams", colour="#616e7c"),
        *_panel(60, "time to first token, ms", levels, lambda level: level.ttft_s),
        *_panel(510, "time between tokens, ms", levels, lambda level: level.itl_s),
    ]
    return svg.document(WIDTH, HEIGHT, parts)


def _panel(
    left: float, title: str, levels: list[Level], latency: Callable[[Level], Percentiles]
) -> list[str]:
    shown = [level for level in levels if not math.isnan(latency(level).p50)]
    rates = [level.output_tokens_per_s for level in shown]
    x_ticks = svg.ticks(max(rates, default=0))
    y_ticks = svg.ticks(max((latency(level).p99 * 1000 for level in shown), default=0))

    def x(value: float) -> float:
        return left + PANEL_WIDTH * value / x_ticks[-1]

    def y(value: float) -> float:
        return PANEL_TOP + PANEL_HEIGHT * (1 - value / y_ticks[-1])

    parts = [svg.text(left, PANEL_TOP - 10, title)]
    for tick in y_ticks:
        parts.append(svg.line((left, y(tick)), (left + PANEL_WIDTH, y(tick))))
        parts.append(svg.text(left - 6, y(tick) + 4, f"{tick:,g}", anchor="end"))
    for tick in x_ticks:
        parts.append(
            svg.text(x(tick), PANEL_TOP + PANEL_HEIGHT + 18, f"{tick:,g}", anchor="middle")
        )
    below = PANEL_TOP + PANEL_HEIGHT + 38
    parts.append(svg.text(left + PANEL_WIDTH / 2, below, "output tokens/s", anchor="middle"))
    for name, colour, lift in (("p50", svg.COLOURS[0], 9), ("p99", svg.COLOURS[1], -1)):
        points = [
            (x(level.output_tokens_per_s), y(getattr(latency(level), name) * 1000))
            for level in shown
        ]
        parts.append(svg.curve(points, colour, is_dashed=name == "p99"))
        if points:
            at = (left + PANEL_WIDTH + 4, points[-1][1] + lift)
            parts.append(svg.text(*at, name, colour=colour))
    for level in shown:
        at = (x(level.output_tokens_per_s), y(latency(level).p99 * 1000) - 8)
        parts.append(svg.text(*at, str(level.concurrency), anchor="middle"))
    return parts
