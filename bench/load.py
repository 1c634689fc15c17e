"""A bounded load of chat streams, read to their end as cheaply as possible."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import orjson

DONE = b"data: [DONE]\n\n"


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
        """Return a request, which ignores end tokens."""
        return orjson.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": f"{number}: {self.prompt}"}],
                "max_tokens": self.tokens,
                "ignore_eos": True,
                "stream": self.stream,
            }
        )


@dataclass(frozen=True)
class Outcome:
    """What came of a load; times in seconds. `events` counts all that streams carried."""

    duration_s: float
    first_token_s: list[float]
    events: int
    failures: list[str]

    @property
    def failed(self) -> int:
        return len(self.failures)


async def run(load: Load, on_open: Callable[[], None] = lambda: None) -> Outcome:
    """Send the load; call `on_open` at each first token; return when all streams have ended."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        bodies = [load.body(number) for number in range(load.num_requests)]
        results: list[tuple[float, int] | BaseException] = []
        started = time.perf_counter()
        for at in range(0, len(bodies), load.streams):
            requests = [
                _one(session, load, body, on_open) for body in bodies[at : at + load.streams]
            ]
            results += await asyncio.gather(*requests, return_exceptions=True)
        duration_s = time.perf_counter() - started
    answers = [result for result in results if not isinstance(result, BaseException)]
    failures = [repr(result) for result in results if isinstance(result, BaseException)]
    return Outcome(
        duration_s, [first for first, _ in answers], sum(events for _, events in answers), failures
    )


async def _one(
    session: aiohttp.ClientSession, load: Load, body: bytes, on_open: Callable[[], None]
) -> tuple[float, int]:
    started = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    url = f"{load.url}/v1/chat/completions"
    async with session.post(url, data=body, headers=headers) as response:
        response.raise_for_status()
        first, events, end = 0.0, 0, b""
        async for data in response.content.iter_any():
            if not first:
                first = time.perf_counter() - started
                on_open()
            events += data.count(b"data: ")
            end = (end + data)[-len(DONE) :]
        if load.stream and end != DONE:
            raise ConnectionError("the stream was cut short")
        return first, events
