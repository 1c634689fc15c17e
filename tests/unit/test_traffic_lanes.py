"""What is short never waits for what is long, and nobody's work is done for nobody."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from gateway.errors import Overloaded
from gateway.traffic.lanes import LONG_BYTES, MAX_WAITING, THREADS, Errand, Lanes


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


def wait_for(gate: threading.Event) -> Callable[[Errand], bool]:
    return lambda errand: gate.wait(30) and errand.is_wanted


async def test_short_work_goes_past_long_work(gate: threading.Event) -> None:
    lanes = Lanes("test")
    long = [asyncio.ensure_future(lanes.run(LONG_BYTES + 1, wait_for(gate))) for _ in range(9)]

    short = await lanes.run(LONG_BYTES, lambda _: threading.current_thread().name)

    assert short.startswith("test_")
    assert not any(one.done() for one in long)
    gate.set()
    assert await asyncio.gather(*long) == [True] * 9
    lanes.close()


async def test_work_learns_that_nobody_waits_for_it(gate: threading.Event) -> None:
    lanes, begun = Lanes("test"), asyncio.Event()
    seen: asyncio.Queue[bool] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def work(errand: Errand) -> None:
        loop.call_soon_threadsafe(begun.set)
        gate.wait(30)
        loop.call_soon_threadsafe(seen.put_nowait, errand.is_wanted)

    running = asyncio.ensure_future(lanes.run(1, work))
    await begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    gate.set()

    assert await seen.get() is False
    lanes.close()


async def test_work_that_was_given_up_before_it_began_is_not_done(gate: threading.Event) -> None:
    lanes = Lanes("test")
    done: list[int] = []
    held = [asyncio.ensure_future(lanes.run(1, wait_for(gate))) for _ in range(THREADS)]
    waiting = asyncio.ensure_future(lanes.run(1, lambda _: done.append(1)))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    gate.set()
    await asyncio.gather(*held)
    await lanes.run(1, lambda _: None)

    assert not done
    lanes.close()


async def test_no_more_waits_than_may(gate: threading.Event) -> None:
    lanes = Lanes("test")
    held = [asyncio.ensure_future(lanes.run(1, wait_for(gate))) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await lanes.run(1, lambda _: None)

    gate.set()
    await asyncio.gather(*held)
    assert await lanes.run(1, lambda _: "again") == "again"
    lanes.close()
