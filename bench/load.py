"""A bounded load of chat streams, read to their end as cheaply as possible."""

import asyncio
import time
from dataclasses import dataclass

import aiohttp
import orjson


@dataclass(frozen=True)
class Load:
    """What to send: `streams` at once, `rounds` times, `tokens` each."""

    url: str
    model: str
    streams: int
    tokens: int
    rounds: int = 1
    stream: bool = True
    prompt: str = "Tell me about the sea and the ships that sail on it. " * 4

    @property
    def total_tokens(self) -> int:
        return self.streams * self.tokens * self.rounds

    def body(self) -> bytes:
        """Return the request, which ignores end tokens."""
        return orjson.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": self.prompt}],
                "max_tokens": self.tokens,
                "ignore_eos": True,
                "stream": self.stream,
            }
        )


@dataclass(frozen=True)
class Outcome:
    """What came of a load; times in seconds."""

    duration_s: float
    first_token_s: list[float]
    failed: int


async def run(load: Load) -> Outcome:
    """Send the load; return how long it took, and the time to each first token."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        started = time.perf_counter()
        first: list[float] = []
        failed = 0
        for _ in range(load.rounds):
            results = await asyncio.gather(
                *(_one(session, load) for _ in range(load.streams)), return_exceptions=True
            )
            first += [result for result in results if isinstance(result, float)]
            failed += sum(not isinstance(result, float) for result in results)
        return Outcome(time.perf_counter() - started, first, failed)


async def _one(session: aiohttp.ClientSession, load: Load) -> float:
    started = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    url = f"{load.url}/v1/chat/completions"
    async with session.post(url, data=load.body(), headers=headers) as response:
        response.raise_for_status()
        first, last = 0.0, b""
        async for data in response.content.iter_any():
            first = first or time.perf_counter() - started
            last = data
        if load.stream and not last.endswith(b"data: [DONE]\n\n"):
            raise ConnectionError("the stream was cut short")
        return first
