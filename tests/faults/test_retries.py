"""Every replica failing half of what it is asked: retries must not make it worse."""

import asyncio
import time

from gateway.triton.retries import LEAST_RETRIES, SHARE_OF_LIVE
from tests.conftest import Figure
from tests.faults.fleet import Fleet
from tests.faults.load import Ask, chat

NUM_STREAMS = 60
DEADLINE_S = 30


async def test_retries_stay_within_their_budget_and_nobody_waits_for_them(
    fleet: Fleet, figure: Figure
) -> None:
    before, started = fleet.events(), time.monotonic()
    asks = [
        Ask(fleet.port, chat("m", "You decide.", f"Please toss a coin, {number}.", max_tokens=3))
        for number in range(NUM_STREAMS)
    ]

    answers = await asyncio.wait_for(asyncio.gather(*(ask.run() for ask in asks)), DEADLINE_S)

    elapsed_s = time.monotonic() - started
    events = {name: count - before.get(name, 0) for name, count in fleet.events().items()}
    retried, refused = events.get("retried", 0), events.get("retry_refused", 0)
    num_whole = sum(answer.is_whole for answer in answers)
    figure(
        f"half of all calls fail: {NUM_STREAMS} offered, {NUM_STREAMS + retried} made, {refused} "
        f"retries refused, {num_whole} whole, {elapsed_s:.1f} s"
    )
    at_once = max(LEAST_RETRIES, int(SHARE_OF_LIVE * NUM_STREAMS))
    assert all(answer.is_whole or answer.is_stated for answer in answers)
    assert 0 < retried <= at_once * (elapsed_s + 1)
