"""Admission as requests meet it: they wait, are told to come back, or leave."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from gateway.app import create_app
from gateway.errors import NoCapacity
from gateway.models import Models
from gateway.settings import Settings
from gateway.traffic.admission import ENOUGH, REMEMBERED, Admission, Lengths
from gateway.traffic.caller import ANYONE, Priority
from gateway.traffic.gate import Capacity
from tests.fakes import FakeEngine, stop, text, tiny_model
from tests.wire import CheckedTransport, events

CHAT = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}


def admission(requests: int = 1, waiting: int = 1, timeout_s: float = 30) -> Admission:
    made = Admission(waiting, timeout_s)
    made.capacity = lambda: Capacity(requests=requests)
    return made


def enter(gate: Admission, time_left_s: float | None = None) -> Any:
    return asyncio.ensure_future(gate.enter(ANYONE, 10, 10, time_left_s))


async def test_a_request_waits_until_another_leaves() -> None:
    gate = admission()
    first = await enter(gate)
    second = enter(gate)
    await asyncio.sleep(0)
    was_waiting = not second.done()

    gate.leave(first, 5, 0, ended=True)
    ticket = await second

    assert was_waiting
    assert gate.gate.num_running == 1
    gate.leave(ticket, 5, 0, ended=True)


async def test_who_finds_the_queue_full_is_told_at_once_when_to_come_back() -> None:
    gate = admission()
    await enter(gate)
    waiting = enter(gate)
    await asyncio.sleep(0)

    with pytest.raises(NoCapacity) as caught:
        await gate.enter(ANYONE, 10, 10, None)

    assert caught.value.retry_after_s
    assert 1 <= caught.value.retry_after_s <= 1.2
    waiting.cancel()


async def test_who_leaves_the_queue_is_forgotten() -> None:
    gate = admission()
    first = await enter(gate)
    waiting = enter(gate)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert gate.gate.num_waiting == 0
    gate.leave(first, 5, 0, ended=True)
    assert gate.gate.num_running == 0


async def test_who_leaves_as_its_turn_comes_gives_the_place_on() -> None:
    gate = admission(waiting=2)
    first, second, third = await enter(gate), enter(gate), enter(gate)
    await asyncio.sleep(0)

    gate.leave(first, 5, 0, ended=True)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)

    assert await third
    assert gate.gate.num_running == 1


@pytest.mark.parametrize(("timeout_s", "left_s"), [(0.01, None), (30, 0.01)])
async def test_nobody_waits_beyond_their_time(timeout_s: float, left_s: float | None) -> None:
    gate = admission(timeout_s=timeout_s)
    await enter(gate)

    with pytest.raises(NoCapacity, match="turn did not come"):
        await gate.enter(ANYONE, 10, 10, left_s)

    assert gate.gate.num_waiting == 0


def test_room_is_kept_for_answers_as_long_as_those_lately() -> None:
    lengths = Lengths()
    before = lengths.bound(1000)
    for number in range(ENOUGH):
        lengths.note(number)

    assert (before, lengths.bound(1000), lengths.bound(5)) == (1000, ENOUGH - 1, 5)
    assert lengths.guess(5) == 5


def test_the_longest_answer_is_that_of_the_last_so_many() -> None:
    chance, lengths, seen = random.Random(16), Lengths(), []
    for _ in range(4 * REMEMBERED):
        seen.append(chance.choice((chance.randrange(1000), 500)))
        lengths.note(seen[-1])
        if len(seen) >= ENOUGH:
            assert lengths.bound(1000) == max(seen[-REMEMBERED:])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_over_http_the_refusal_has_its_status_and_the_place_is_free_after(
    stream: bool,
) -> None:
    engine = FakeEngine([text("Hello")], hangs=True)
    model = tiny_model(engine)
    gate = admission(waiting=0)
    object.__setattr__(model, "admission", gate)
    app = create_app(Settings(), Models([model]))
    body = HELLO | {"stream": stream}
    async with httpx.AsyncClient(
        transport=CheckedTransport(app), base_url="http://gateway"
    ) as http:
        held = asyncio.ensure_future(http.post(CHAT, json=body))
        while not engine.requests:  # noqa: ASYNC110
            await asyncio.sleep(0)
        refused = await http.post(CHAT, json=body)
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        engine.hangs, engine.script = False, [text("Hello"), stop()]
        after = await http.post(CHAT, json=body)

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "no_capacity"
    assert refused.headers["x-should-retry"] == "true"
    assert int(refused.headers["retry-after-ms"]) >= 1000
    assert after.status_code == 200
    assert gate.gate.num_running == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_batch_makes_room_for_interactive_before_its_first_byte(stream: bool) -> None:
    gate, engine = admission(), FakeEngine(hangs=True)

    async with batch_at(gate, engine, stream=stream) as batch:
        ticket = await enter(gate)
        refused = await batch

    assert engine.closed == 1
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "no_capacity"
    assert refused.headers["retry-after"]
    assert gate.gate.num_running == 1
    gate.leave(ticket, 0, 0, ended=False)


async def test_batch_of_which_something_has_come_stays() -> None:
    gate, engine = admission(), FakeEngine([text("Hello")], hangs=True)

    async with batch_at(gate, engine, stream=True) as batch:
        interactive = enter(gate)
        await turns()
        was_cut, was_let_in = batch.done(), interactive.done()
        batch.cancel()
        ticket = await interactive

    assert not was_cut
    assert not was_let_in
    gate.leave(ticket, 0, 0, ended=False)


async def test_who_is_preempted_as_its_turn_comes_is_told_so() -> None:
    gate = admission(waiting=2)
    first = await enter(gate)
    who = replace(ANYONE, priority=Priority.BATCH)
    batch = asyncio.ensure_future(gate.enter(who, 10, 10, None))
    await asyncio.sleep(0)

    gate.leave(first, 5, 0, ended=True)
    ticket = await gate.enter(ANYONE, 10, 10, None)

    with pytest.raises(NoCapacity, match="class batch"):
        await batch
    assert gate.gate.num_running == 1
    gate.leave(ticket, 0, 0, ended=False)


async def turns() -> None:
    """Let others go on until they wait."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def batch_at(gate: Admission, engine: FakeEngine, *, stream: bool) -> AsyncIterator[Any]:
    """Yield a request of class batch that the engine has."""
    model = tiny_model(engine)
    object.__setattr__(model, "admission", gate)
    transport = CheckedTransport(create_app(Settings(), Models([model])))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        body, headers = HELLO | {"stream": stream}, {"x-priority": "batch"}
        request = asyncio.ensure_future(http.post(CHAT, json=body, headers=headers))
        while not engine.requests:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await turns()
        yield request
        await asyncio.gather(request, return_exceptions=True)


async def test_while_a_stream_waits_for_its_turn_comments_keep_it_open(tmp_path: Path) -> None:
    engine = FakeEngine([text("Hello"), stop()])
    model = tiny_model(engine)
    gate = admission()
    object.__setattr__(model, "admission", gate)
    app = create_app(Settings(keep_alive_s=0.02), Models([model]))
    first = await enter(gate)
    transport = CheckedTransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        waiting = asyncio.ensure_future(http.post(CHAT, json=HELLO | {"stream": True}))
        await asyncio.sleep(0.1)
        gate.leave(first, 5, 0, ended=True)
        answer = await waiting

    assert answer.text.startswith(": keep-alive")
    assert events(answer)[-1] == "[DONE]"
