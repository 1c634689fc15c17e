"""The models file read again and again under streams."""

import asyncio
import signal
from functools import partial

from tests.conftest import Figure
from tests.faults.fleet import Fleet
from tests.faults.load import Ask, chat

NUM_STREAMS = 100
NUM_RELOADS = 20
MAX_TOKENS = 150


def num_reloads_above(fleet: Fleet, number: int) -> bool:
    return fleet.log().count("models_reloaded") > number


async def test_no_stream_is_lost_when_models_and_replicas_come_and_go(
    fleet: Fleet, figure: Figure
) -> None:
    body = chat("m", "You tell stories.", "One more.", max_tokens=MAX_TOKENS, temperature=0)
    asks = [Ask(fleet.port, body) for _ in range(NUM_STREAMS)]
    running = [asyncio.ensure_future(ask.run()) for ask in asks]
    await asyncio.gather(*(ask.begun.wait() for ask in asks))
    assert fleet.process

    for number in range(NUM_RELOADS):
        has_reloaded = partial(num_reloads_above, fleet, fleet.log().count("models_reloaded"))
        members = fleet.members if number % 2 else fleet.members[: 1 + number % 3]
        fleet.write_models(members, *["another"] * (number % 2 == 0))
        fleet.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(fleet.eventually, has_reloaded)
    open_at_end = sum(not each.done() for each in running)
    answers = await asyncio.gather(*running)

    num_whole = sum(answer.is_whole for answer in answers)
    figure(f"{NUM_RELOADS} reloads, {open_at_end} streams open to the last: {num_whole} whole")
    assert num_whole == NUM_STREAMS
    assert len({answer.text for answer in answers}) == 1
    fleet.wait_serving()
