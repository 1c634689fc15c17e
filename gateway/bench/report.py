"""What a sweep found, as a table for people and as JSON for programs."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gateway import __version__
from gateway.bench.figures import Level, Percentiles, Target, dollars_per_million

Row = tuple[str, Callable[[Level], str]]


@dataclass
class Report:
    """A sweep of one endpoint; `dollars_per_hour` is 0 where nobody said what it costs."""

    url: str
    model: str
    workload: str
    target: Target
    dollars_per_hour: float
    levels: list[Level] = field(default_factory=list)

    def dollars_per_million(self, level: Level) -> float:
        """Return what a million output tokens cost at one concurrency."""
        return dollars_per_million(self.dollars_per_hour, level.output_tokens_per_s)

    def to_json(self) -> bytes:
        """Return all figures; times in seconds, `null` where there are none."""
        levels = [self._level(level) for level in self.levels]
        return orjson.dumps(
            {**asdict(self), "version": __version__, "levels": levels},
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        )

    def to_table(self) -> Table:
        """Return a column for each concurrency."""
        table = Table(box=SIMPLE_HEAD)
        table.add_column("concurrent streams", no_wrap=True)
        for level in self.levels:
            table.add_column(str(level.concurrency), justify="right", no_wrap=True)
        for name, value in self._rows():
            table.add_row(name, *(value(level) for level in self.levels))
        return table

    def notes(self) -> list[str]:
        """Return what a reader must know to judge the figures."""
        reasons = [
            f"{count} failed at concurrency {level.concurrency}: {reason}"
            for level in self.levels
            for reason, count in sorted(level.failures.items(), key=lambda item: -item[1])[:3]
        ]
        bound = [str(level.concurrency) for level in self.levels if level.is_client_bound]
        if bound:
            reasons.append(
                f"at concurrency {', '.join(bound)} this client was too busy to measure: the "
                "endpoint may be faster than shown"
            )
        return reasons

    def _level(self, level: Level) -> dict[str, object]:
        cost = self.dollars_per_million(level) if self.dollars_per_hour else None
        return {**asdict(level), "dollars_per_million_output_tokens": cost}

    def _rows(self) -> list[Row]:
        rows: list[Row] = [
            ("output tokens/s", lambda level: f"{level.output_tokens_per_s:,.0f}"),
            ("requests/s", lambda level: short(level.requests_per_s)),
            *_percentile_rows("first token, ms", 1000, lambda level: level.ttft_s),
            *_percentile_rows("between tokens, ms", 1000, lambda level: level.itl_s),
            *_percentile_rows("whole answer, s", 1, lambda level: level.e2e_s),
            ("failed requests", lambda level: str(level.failed)),
        ]
        if self.target.is_set:
            rows.append(("goodput, requests/s", lambda level: short(level.goodput_per_s)))
        if self.dollars_per_hour:
            rows.append(("$/M output tokens", lambda level: short(self.dollars_per_million(level))))
        return rows


def _percentile_rows(name: str, factor: int, of: Callable[[Level], Percentiles]) -> list[Row]:
    return [
        (f"{name:19} p50", lambda level: short(of(level).p50 * factor)),
        (f"{'':19} p90", lambda level: short(of(level).p90 * factor)),
        (f"{'':19} p99", lambda level: short(of(level).p99 * factor)),
    ]


def short(value: float) -> str:
    """Return a number in about three significant digits, `-` for none."""
    if not math.isfinite(value):
        return "-"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def batch_line(report: Report, level: Level) -> str:
    """Return one concurrency as a sentence: a batch, what it made, and what that costs."""
    cost = ""
    if report.dollars_per_hour:
        cost = (
            f", ${report.dollars_per_million(level):.2f} per million output tokens "
            f"at ${report.dollars_per_hour:.2f} an hour"
        )
    return (
        f"{level.answered} answers, {level.output_tokens:,} tokens in {level.duration_s:.1f} s: "
        f"{level.output_tokens_per_s:,.0f} tokens/s{cost}"
    )
