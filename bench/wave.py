"""One process's share of a wave of streams: opened one after another, all open for a while.

python -m bench.wave JSON
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from bench.client import Answer, Connection, post
from bench.load import Load


@dataclass(frozen=True)
class Wave:
    """Streams of `tokens` each, opened within `ramp_s`; what counts lies between two moments.

    Moments are of the monotonic clock, which all processes of a machine share. `first` is the
    number of the first stream among those of all processes.
    """

    url: str
    models: Sequence[str]
    first: int
    streams: int
    tokens: int
    start_at: float
    ramp_s: float
    begin_at: float
    end_at: float

    def tokens_counted(self, answer: Answer) -> float:
        """Return how many tokens of a stream count: they are spread evenly over its life."""
        life_s = max(answer.last_at - answer.first_at, 1e-6)
        counted_s = min(answer.last_at, self.end_at) - max(answer.first_at, self.begin_at)
        return (answer.tokens - 1) * max(0.0, counted_s) / life_s


@dataclass(frozen=True)
class Share:
    """What came of it: `tokens` and `gaps`, pauses in ms, between the two moments alone."""

    tokens: float
    all_tokens: int
    all_events: int
    gaps: dict[float, int]
    failures: list[str]

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Share":
        """Read what a process has told in JSON."""
        gaps = {float(gap): count for gap, count in told["gaps"].items()}
        return cls(**{**told, "gaps": gaps})


async def run(wave: Wave) -> Share:
    """Read all streams to their end."""
    gaps: Counter[float] = Counter()

    def on_events(before: float, now: float) -> None:
        if before and wave.begin_at <= now < wave.end_at:
            gaps[round((now - before) * 1e3, 1)] += 1

    async def one(number: int) -> Answer:
        model = wave.models[(wave.first + number) % len(wave.models)]
        request = post(wave.url, Load(wave.url, model, 1, wave.tokens).body(wave.first + number))
        due = wave.start_at + wave.ramp_s * number / wave.streams
        await asyncio.sleep(due - time.monotonic())
        connection = await Connection.open(wave.url, on_events)
        try:
            return await connection.ask(request)
        finally:
            connection.close()

    streams = [one(number) for number in range(wave.streams)]
    results = await asyncio.gather(*streams, return_exceptions=True)
    answers = [each for each in results if isinstance(each, Answer)]
    return Share(
        tokens=sum(map(wave.tokens_counted, answers)),
        all_tokens=sum(answer.tokens for answer in answers),
        all_events=sum(answer.events for answer in answers),
        gaps=dict(gaps),
        failures=[repr(each) for each in results if not isinstance(each, Answer)],
    )


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Wave(**json.loads(sys.argv[1])))))))
