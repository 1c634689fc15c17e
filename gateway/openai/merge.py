"""Several streams as one, in the order in which their items come."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

from gateway.errors import EngineFailure

T = TypeVar("T")

_AT_ONCE = 16
"""Streams that begin in one turn of the event loop: each sends a request."""

Told = tuple[int, T] | Exception | None
"""An item of a stream with the stream's number, why a stream failed, or that one has ended."""


def merged(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """Yield each stream's items with its number; raise what any raises, and close all.

    A stream runs at most one item ahead of the reader.
    """
    return _single(streams[0]) if len(streams) == 1 else _several(streams)


async def _single(stream: AsyncGenerator[T, None]) -> AsyncGenerator[tuple[int, T], None]:
    async with aclosing(stream):
        async for item in stream:
            yield 0, item


async def _several(
    streams: Sequence[AsyncGenerator[T, None]],
) -> AsyncGenerator[tuple[int, T], None]:
    told: asyncio.Queue[Told[T]] = asyncio.Queue(maxsize=1)
    left = asyncio.Event()
    pumps: list[asyncio.Task[None]] = []
    num_running = len(streams)
    try:
        for number, stream in enumerate(streams):
            pumps.append(asyncio.create_task(_pump(number, stream, told, left)))
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        while num_running:
            one = await told.get()
            if isinstance(one, Exception):
                raise one
            if one is None:
                num_running -= 1
            else:
                yield one
    finally:
        left.set()
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(
    number: int,
    stream: AsyncGenerator[T, None],
    told: "asyncio.Queue[Told[T]]",
    left: asyncio.Event,
) -> None:
    """Tell what comes of a stream, to its end: also one that is cancelled from beneath."""
    try:
        async with aclosing(stream):
            async for item in stream:
                await told.put((number, item))
    except asyncio.CancelledError:
        if left.is_set():
            raise
        await told.put(EngineFailure("The engine gave up this generation."))
    except Exception as error:
        await told.put(error)
    else:
        await told.put(None)
