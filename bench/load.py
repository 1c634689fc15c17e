"""A bounded load of chat streams, read to their end as cheaply as possible."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from bench.client import Answer, Connection, post


@dataclass(frozen=True)
class Load:
    """What to send: `streams` at once, `rounds` times, `tokens` each; no prompt twice."""

    url: str
    model: str
    streams: int
    tokens: int
    rounds: int = 1
    stream: bool = True
    prompt: str = "Tell me about the sea and the ships that sail on it. " * 4

    @property
    def num_requests(self) -> int:
        return self.streams * self.rounds

    @property
    def total_tokens(self) -> int:
        return self.num_requests * self.tokens

    def body(self, number: int = 0) -> bytes:
        """Return a request, which ignores end tokens and asks for the usage."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"{number}: {self.prompt}"}],
            "max_tokens": self.tokens,
            "ignore_eos": True,
            "stream": self.stream,
        }
        if self.stream:
            body["stream_options"] = {"include_usage": True}
        return orjson.dumps(body)


@dataclass(frozen=True)
class Outcome:
    """What came of a load; times in seconds. `events` counts all that streams carried.

    `tokens` are those that the answers' usage tells: a chunk may carry several.
    """

    duration_s: float
    first_token_s: list[float]
    events: int
    tokens: int
    failures: list[str]

    @property
    def failed(self) -> int:
        return len(self.failures)


async def run(load: Load, on_open: Callable[[], None] = lambda: None) -> Outcome:
    """Send the load; call `on_open` at each first token; return when all streams have ended."""

    def on_events(before: float, _: float) -> None:
        if not before:
            on_open()

    opening = [Connection.open(load.url, on_events) for _ in range(load.streams)]
    connections = await asyncio.gather(*opening)
    requests = [post(load.url, load.body(number)) for number in range(load.num_requests)]
    results: list[Answer | BaseException] = []
    started = time.monotonic()
    for at in range(0, len(requests), load.streams):
        asking = map(Connection.ask, connections, requests[at : at + load.streams])
        results += await asyncio.gather(*asking, return_exceptions=True)
    duration_s = time.monotonic() - started
    for connection in connections:
        connection.close()
    return _outcome(duration_s, results)


def _outcome(duration_s: float, results: list[Answer | BaseException]) -> Outcome:
    answers = [result for result in results if not isinstance(result, BaseException)]
    return Outcome(
        duration_s,
        [answer.first_at - answer.sent_at for answer in answers],
        sum(answer.events for answer in answers),
        sum(answer.tokens for answer in answers),
        [repr(result) for result in results if isinstance(result, BaseException)],
    )
