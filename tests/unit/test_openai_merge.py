import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.errors import EngineFailure
from gateway.openai.merge import merged


async def numbers(*items: int) -> AsyncGenerator[int, None]:
    for item in items:
        yield item


async def cancelled_from_beneath() -> AsyncGenerator[int, None]:
    """Ends as a call of grpc.aio does whose channel is closed: nobody cancelled its reader."""
    yield 0
    raise asyncio.CancelledError


async def test_a_stream_that_is_cancelled_from_beneath_ends_the_answer_with_an_error() -> None:
    steps = merged([cancelled_from_beneath(), cancelled_from_beneath()])

    with pytest.raises(EngineFailure):
        await asyncio.wait_for(_read(steps), 5)


async def test_a_reader_that_is_cancelled_ends_its_streams() -> None:
    closed: list[int] = []

    async def endless(number: int) -> AsyncGenerator[int, None]:
        try:
            await asyncio.Event().wait()
            yield number
        finally:
            closed.append(number)

    reader = asyncio.ensure_future(_read(merged([endless(0), endless(1)])))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reader.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reader
    assert sorted(closed) == [0, 1]


async def test_items_come_with_their_streams_number() -> None:
    items = await _read(merged([numbers(1, 2), numbers(3)]))

    assert sorted(items) == [(0, 1), (0, 2), (1, 3)]


async def _read(steps: AsyncGenerator[tuple[int, int], None]) -> list[tuple[int, int]]:
    return [step async for step in steps]
