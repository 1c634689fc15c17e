"""Replicas that die and stop under two hundred streams."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.conftest import Figure
from tests.faults.fleet import Fleet
from tests.faults.load import Answer, Ask, chat, percentile

NUM_STREAMS = 200
NUM_PROMPTS = 10
MAX_TOKENS = 30
DEADLINE_S = 60


def body(number: int) -> dict[str, object]:
    """Return one of the chats; those of even numbers are greedy."""
    sampling = {"temperature": 0} if number % 2 == 0 else {"temperature": 1, "top_p": 0.9}
    story = f"Tell me story {number % NUM_PROMPTS}."
    return chat("m", "You tell stories.", story, max_tokens=MAX_TOKENS, **sampling)


async def told(fleet: Fleet) -> dict[int, str]:
    """Return the undisturbed greedy answers by number."""
    asks = {number: Ask(fleet.port, body(number)) for number in range(0, NUM_PROMPTS, 2)}
    answers = await asyncio.gather(*(ask.run() for ask in asks.values()))
    assert all(answer.is_whole for answer in answers)
    return dict(zip(asks, (answer.text for answer in answers), strict=True))


async def disturbed(fleet: Fleet, fault: Callable[[], None]) -> list[Answer]:
    """Let half of the streams begin, have the fault, let the others come as it happens."""
    asks = [Ask(fleet.port, body(number)) for number in range(NUM_STREAMS)]
    half = NUM_STREAMS // 2
    running = [asyncio.ensure_future(ask.run()) for ask in asks[:half]]
    await asyncio.gather(*(ask.begun.wait() for ask in asks[:half]))
    fault()  # not from a thread that ends: what it starts would end with it
    running += [asyncio.ensure_future(ask.run()) for ask in asks[half:]]
    return await asyncio.wait_for(asyncio.gather(*running), DEADLINE_S)


def kill_and_stop(fleet: Fleet) -> None:
    fleet.members[0].signal(signal.SIGKILL)
    fleet.members[1].signal(signal.SIGSTOP)


FAULTS = [
    pytest.param(kill_and_stop, id="one is killed, one is stopped"),
]


@pytest.fixture
def mortal(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet, whose members may be lost: they are brought back, however the test ends."""
    yield fleet
    fleet.restore()


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_stream_ends_whole_or_stated_and_what_had_no_token_succeeds(
    mortal: Fleet, fault: Callable[[Fleet], None], figure: Figure
) -> None:
    expected = await told(mortal)
    before = mortal.events()

    answers = await disturbed(mortal, partial(fault, mortal))

    whole = [answer for answer in answers if answer.is_whole]
    stated = [answer for answer in answers if answer.is_stated]
    after = {name: count - before.get(name, 0) for name, count in mortal.events().items()}
    slowest = percentile([answer.total_s for answer in answers], 1)
    figure(
        f"{NUM_STREAMS} streams, {fault.__name__}: {len(whole)} whole, {len(stated)} with a stated "
        f"error, slowest {slowest:.1f} s, {after}"
    )
    late = [answer for answer in stated if answer.first_s is None]
    greedy = [(n, a) for n, a in enumerate(answers) if n % 2 == 0]
    assert len(whole) + len(stated) == NUM_STREAMS
    assert not late
    assert all(answer.is_whole for _, answer in greedy)
    assert all(answer.text == expected[n % NUM_PROMPTS] for n, answer in greedy)
    assert all(answer.finish_reason == "length" for answer in whole)
    assert after.get("moved") and after.get("resumed")
