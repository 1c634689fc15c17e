"""From answers to figures: percentiles, rates, goodput, cost. Pure."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.bench.recording import Answer, Failure, Outcome


@dataclass(frozen=True)
class Percentiles:
    """What half, nine in ten and 99 in 100 values do not exceed; NaN where there are none."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Percentiles":
        ordered = sorted(values)
        return cls(*(percentile(ordered, share) for share in (0.5, 0.9, 0.99)))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value at `share` of the way through sorted values, between two if need be."""
    if not ordered:
        return math.nan
    at = (len(ordered) - 1) * share
    below, above = ordered[math.floor(at)], ordered[math.ceil(at)]
    return below + (above - below) * (at - math.floor(at))


@dataclass(frozen=True)
class Target:
    """The latency that an answer must not exceed to count as good, in seconds."""

    ttft_s: float = math.inf
    itl_s: float = math.inf

    @classmethod
    def of_ms(cls, ttft_ms: float | None, itl_ms: float | None) -> "Target":
        """Return a target in milliseconds; None is no limit."""
        return cls(*(math.inf if ms is None else ms / 1000 for ms in (ttft_ms, itl_ms)))

    @property
    def is_set(self) -> bool:
        return self != Target()

    def is_met(self, answer: Answer) -> bool:
        return answer.ttft_s <= self.ttft_s and answer.itl_s <= self.itl_s


@dataclass(frozen=True)
class Level:
    """What came of one concurrency. Times in seconds, rates per second.

    `goodput` counts the answers that met the target; `client_cpu` is the share of one core that
    measuring took.
    """

    concurrency: int
    duration_s: float
    answered: int
    failures: dict[str, int]
    prompt_tokens: int
    output_tokens: int
    requests_per_s: float
    output_tokens_per_s: float
    goodput_per_s: float
    ttft_s: Percentiles
    itl_s: Percentiles
    e2e_s: Percentiles
    client_cpu: float

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def is_client_bound(self) -> bool:
        """Whether the client was so busy that the figures are its own."""
        return self.client_cpu > 0.8


def summarize(
    concurrency: int,
    duration_s: float,
    outcomes: Sequence[Outcome],
    target: Target,
    client_cpu: float,
) -> Level:
    """Return the figures of all that was asked at one concurrency."""
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    output_tokens = sum(answer.output_tokens for answer in answers)
    return Level(
        concurrency=concurrency,
        duration_s=duration_s,
        answered=len(answers),
        failures=dict(Counter(o.reason for o in outcomes if isinstance(o, Failure))),
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        output_tokens=output_tokens,
        requests_per_s=len(answers) / duration_s,
        output_tokens_per_s=output_tokens / duration_s,
        goodput_per_s=sum(map(target.is_met, answers)) / duration_s,
        ttft_s=Percentiles.of([answer.ttft_s for answer in answers]),
        itl_s=Percentiles.of([gap for answer in answers for gap in answer.gaps_s]),
        e2e_s=Percentiles.of([answer.duration_s for answer in answers]),
        client_cpu=client_cpu,
    )


def dollars_per_million(dollars_per_hour: float, tokens_per_s: float) -> float:
    """Return what a million tokens cost at a steady rate; infinity where there are none."""
    if not tokens_per_s:
        return math.inf
    return dollars_per_hour / 3600 / tokens_per_s * 1e6
