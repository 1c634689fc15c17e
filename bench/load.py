"""A bounded load of chat streams, read to their end as cheaply as possible."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import orjson

EVENT = b"data: "
DONE = b"data: [DONE]\n\n"
TAIL_BYTES = 2048
"""Enough of a stream's end for the usage and what follows it."""


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
class Answer:
    """One answer, read to its end: when its first bytes came, its events, its tokens by usage."""

    first_token_s: float
    events: int
    tokens: int


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
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        bodies = [load.body(number) for number in range(load.num_requests)]
        results: list[Answer | BaseException] = []
        started = time.perf_counter()
        for at in range(0, len(bodies), load.streams):
            requests = [
                _one(session, load, body, on_open) for body in bodies[at : at + load.streams]
            ]
            results += await asyncio.gather(*requests, return_exceptions=True)
        duration_s = time.perf_counter() - started
    answers = [result for result in results if not isinstance(result, BaseException)]
    return Outcome(
        duration_s,
        [answer.first_token_s for answer in answers],
        sum(answer.events for answer in answers),
        sum(answer.tokens for answer in answers),
        [repr(result) for result in results if isinstance(result, BaseException)],
    )


async def _one(
    session: aiohttp.ClientSession, load: Load, body: bytes, on_open: Callable[[], None]
) -> Answer:
    started = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    url = f"{load.url}/v1/chat/completions"
    async with session.post(url, data=body, headers=headers) as response:
        response.raise_for_status()
        if not load.stream:
            whole = orjson.loads(await response.read())
            return Answer(time.perf_counter() - started, 0, whole["usage"]["completion_tokens"])
        first, events, tail = 0.0, 0, b""
        async for data in response.content.iter_any():
            if not first:
                first = time.perf_counter() - started
                on_open()
            events += data.count(EVENT)
            tail = (tail + data)[-TAIL_BYTES:]
        return Answer(first, events, stream_tokens(tail))


def stream_tokens(tail: bytes) -> int:
    """Return the tokens that a stream's last chunk tells. Raises ConnectionError without one."""
    if not tail.endswith(DONE):
        raise ConnectionError("the stream was cut short")
    _, _, last = tail.removesuffix(DONE).rpartition(EVENT)
    usage = orjson.loads(last).get("usage")
    if not usage:
        raise ConnectionError("the last chunk has no usage")
    return int(usage["completion_tokens"])
