"""Several streams as one, in the order in which their items come."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

T = TypeVar("T")


async def merged(
    streams: Sequence[AsyncGenerator[T, None]],
) -> AsyncGenerator[tuple[int, T], None]:
    """Yield each stream's items with its number; raise what any raises, and close all.

    A stream runs at most one item ahead of the reader.
    """
    if len(streams) == 1:
        async with aclosing(streams[0]) as stream:
            async for item in stream:
                yield 0, item
        return
    items: asyncio.Queue[tuple[int, T]] = asyncio.Queue(maxsize=1)

    async def pump(number: int, stream: AsyncGenerator[T, None]) -> None:
        async with aclosing(stream):
            async for item in stream:
                await items.put((number, item))

    pumps = [asyncio.ensure_future(pump(*numbered)) for numbered in enumerate(streams)]
    finished = asyncio.gather(*pumps)
    try:
        while not (finished.done() and items.empty()):
            arrival = asyncio.ensure_future(items.get())
            either: set[asyncio.Future[Any]] = {arrival, finished}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if arrival.done():
                yield arrival.result()
            else:
                arrival.cancel()
        finished.result()
    finally:
        finished.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
