"""One concurrency after the other: sends, waits, and only then reads. Prints nothing."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.bench.endpoint import Endpoint
from gateway.bench.errors import BenchError
from gateway.bench.figures import Level, Target, summarize
from gateway.bench.recording import Recording, read
from gateway.bench.workload import Workload, words

PROGRESS_INTERVAL_S = 1.0


Moved = Callable[[int, int, int, int], None]
"""Called with a concurrency, its requests done, its requests in all, and the chunks so far."""


@dataclass(frozen=True)
class Plan:
    """What to do: at each concurrency, so many requests, always as many open as it says."""

    workload: Workload
    concurrencies: Sequence[int]
    requests: Callable[[int], int]
    target: Target


async def sweep(endpoint: Endpoint, model: str, plan: Plan, moved: Moved) -> AsyncIterator[Level]:
    """Yield the figures of one concurrency after another, up to one that nothing was answered at.

    `moved` is called about once a second.
    """
    number = 0
    for concurrency in plan.concurrencies:
        await _open_connections(endpoint, plan.workload.probe(model), concurrency)
        requests = plan.requests(concurrency)
        bodies = [plan.workload.body(model, number + i) for i in range(requests)]
        number += requests
        level = await _run_level(endpoint, bodies, concurrency, plan.target, moved)
        yield level
        if not level.answered:
            return


async def first_model(endpoint: Endpoint) -> str:
    """Return the first model that the endpoint serves; raise BenchError if there is none."""
    served = await endpoint.models()
    if not served:
        raise BenchError(f"{endpoint.url} serves no model yet")
    return served[0]


async def words_for(endpoint: Endpoint, model: str, workload: Workload, tokens: int) -> int:
    """Return how many words the endpoint counts as so many tokens, its template included.

    Found out by asking twice; without usage in the stream a word counts as a token.
    """
    few, many = 1, 33
    low, high = [
        (await endpoint.try_out(workload.probe(model, words(count, seed=0)(0)))).prompt_tokens
        for count in (few, many)
    ]
    if not low:
        return tokens
    if tokens < low:
        raise BenchError(f"the chat template alone takes {low - 1} tokens: raise --prompt-tokens")
    return few + round((tokens - low) / max(1.0, (high - low) / (many - few)))


async def _open_connections(endpoint: Endpoint, body: bytes, count: int) -> None:
    await asyncio.gather(*(endpoint.ask(body, Recording()) for _ in range(count)))


async def _run_level(
    endpoint: Endpoint, bodies: list[bytes], concurrency: int, target: Target, moved: Moved
) -> Level:
    recordings = [Recording() for _ in bodies]
    pending = iter(zip(bodies, recordings, strict=True))

    async def work() -> None:
        for body, recording in pending:
            await endpoint.ask(body, recording)

    watching = asyncio.ensure_future(_watch(moved, concurrency, recordings))
    try:
        with _no_collections():
            started, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(work() for _ in range(concurrency)))
            duration_s = time.perf_counter() - started
            busy_s = time.process_time() - cpu
    finally:
        watching.cancel()
    outcomes = [read(recording) for recording in recordings]
    return summarize(concurrency, duration_s, outcomes, target, busy_s / duration_s)


async def _watch(moved: Moved, concurrency: int, recordings: list[Recording]) -> None:
    while True:
        done = sum(recording.is_done for recording in recordings)
        chunks = sum(len(recording.chunks) for recording in recordings)
        moved(concurrency, done, len(recordings), chunks)
        await asyncio.sleep(PROGRESS_INTERVAL_S)


@contextmanager
def _no_collections() -> Iterator[None]:
    """A collection among so many recordings takes milliseconds, and they would be measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
