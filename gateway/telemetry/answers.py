"""Answers under way: how many there are, their tokens, their times. Nothing is done for a token."""

import asyncio
import time
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram

from gateway.telemetry.metrics import REGISTRY

COUNT_EVERY_S = 1.0
MILLI = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75)
SECONDS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 20, 30, 60)
BUCKETS = (*(ms / 1000 for ms in MILLI), *SECONDS)

IN_FLIGHT = Gauge(
    "gateway_requests_in_flight",
    "Answers that are being generated, or are waited for.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
WAITING = Gauge(
    "gateway_requests_waiting",
    "Those of them of which nothing has come: queued in an engine, or in prefill.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
PROMPT_TOKENS = Counter(
    "gateway_prompt_tokens", "Tokens of the prompts that were sent to engines.", registry=REGISTRY
)
COMPLETION_TOKENS = Counter(
    "gateway_completion_tokens", "Tokens that engines have answered.", registry=REGISTRY
)
FIRST_TOKEN = Histogram(
    "gateway_time_to_first_token_seconds",
    "From a request's arrival to what its engine sent first.",
    registry=REGISTRY,
    buckets=BUCKETS,
)
PER_OUTPUT_TOKEN = Histogram(
    "gateway_time_per_output_token_seconds",
    "Of each whole answer, the mean time from one token of a sequence to the next.",
    registry=REGISTRY,
    buckets=BUCKETS,
)


class Tokens(Protocol):
    """An answer as it grows."""

    @property
    def completion_tokens(self) -> int:
        """Tokens of all of its sequences, by now."""


class AnswerWatch:
    """One answer's part in the figures, from `begin` to `end`.

    `arrived` is on `time.monotonic`'s clock. Tokens are counted once a second, and at the end.
    """

    __slots__ = ("_answer", "_arrived", "_counted", "_first", "_num_sequences", "_prompt_tokens")

    def __init__(
        self, answer: Tokens, prompt_tokens: int, num_sequences: int, arrived: float
    ) -> None:
        self._answer = answer
        self._arrived = arrived
        self._counted = 0
        self._first = 0.0
        self._num_sequences = num_sequences
        self._prompt_tokens = prompt_tokens

    def begin(self) -> None:
        """Count the answer in."""
        _UNDER_WAY.add(self)
        IN_FLIGHT.inc()
        WAITING.inc()
        PROMPT_TOKENS.inc(self._prompt_tokens)

    def first(self) -> None:
        """Note that the engine has sent something."""
        self._first = time.monotonic()
        WAITING.dec()
        FIRST_TOKEN.observe(self._first - self._arrived)

    def grown(self) -> int:
        """Return the tokens since this was last asked."""
        counted, self._counted = self._counted, self._answer.completion_tokens
        return self._counted - counted

    def end(self, *, is_whole: bool) -> None:
        """Count the answer out; `is_whole` is one that came to its own end."""
        _UNDER_WAY.discard(self)
        IN_FLIGHT.dec()
        if not self._first:
            WAITING.dec()
        COMPLETION_TOKENS.inc(self.grown())
        steps = self._counted / self._num_sequences - 1
        if is_whole and self._first and steps > 0:
            PER_OUTPUT_TOKEN.observe((time.monotonic() - self._first) / steps)


_UNDER_WAY: set[AnswerWatch] = set()


def count_under_way() -> None:
    """Count the tokens of answers that go on."""
    if grown := sum(watch.grown() for watch in _UNDER_WAY):
        COMPLETION_TOKENS.inc(grown)


async def keep_counting() -> None:
    """Count tokens as they come, until cancelled."""
    while True:
        await asyncio.sleep(COUNT_EVERY_S)
        count_under_way()
