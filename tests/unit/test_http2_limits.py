"""Our server on a socket: what one client leaves to others, of time, of memory, of connections."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from gateway.http2 import frames
from gateway.http2.frames import END_STREAM, PREFACE, ErrorCode, Kind, Setting
from gateway.http2.messages import prefixed
from gateway.http2.server.limits import HELD_MESSAGES
from gateway.http2.server.store import Store
from gateway.http2.server.streams import TURN
from gateway.http2.server.transport import LEFT_A_TURN
from gateway.http2.server.turns import SMALL_BYTES, Turns
from tests.grpc_service import LIMITS, MAX_MESSAGE_BYTES, running, until
from tests.http2 import data, read_block, request
from tests.unit.test_http2_serving import Caller, caller

SHUT = frames.settings([(Setting.INITIAL_WINDOW_SIZE, 0)])
HALF = prefixed(bytes(MAX_MESSAGE_BYTES))[:-1]


async def status(client: Caller) -> str:
    """Return the status of the next call that ends."""
    while True:
        _, flags, _, block = await client.receive(Kind.HEADERS)
        if flags & END_STREAM:
            return dict(read_block(block))["grpc-status"]


def half_a_request(stream_id: int = 1, method: str = "Echo") -> bytes:
    pieces = [HALF[at : at + 16_000] for at in range(0, len(HALF), 16_000)]
    told = b"".join(data(piece, stream_id) for piece in pieces)
    return request(stream_id, (":path", f"/t/{method}")) + told


@contextmanager
def no_collector() -> Iterator[None]:
    """Leave memory to reference counts alone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def live(*kinds: str) -> Counter[str]:
    """Return how many objects of these classes there are."""
    names = (type(each).__name__ for each in gc.get_objects())
    return Counter(name for name in names if name in kinds)


async def some_turns() -> None:
    """Let handlers that were cancelled end."""
    for _ in range(20):
        await asyncio.sleep(0)


KINDS = ("Transport", "ServerConnection", "Call", "ServerStream", "RequestReader", "Inbox")


async def handled(client: Caller) -> None:
    """Wait until the server has handled what was sent."""
    client.send(frames.frame(Kind.PING, 0, 0, bytes(8)))
    await client.receive(Kind.PING)


async def left_half_way(client: Caller) -> None:
    client.send(half_a_request(1), half_a_request(3, "Join"), half_a_request(5, "Hang"))
    await handled(client)


async def left_while_answered(client: Caller) -> None:
    client.call("Hang")
    await client.receive(Kind.DATA)


async def left_with_a_shut_window(client: Caller) -> None:
    client.send(SHUT)
    client.call("Flood", b"1000")
    client.call("Echo", b"1000", stream_id=3)
    await client.receive(Kind.HEADERS)


async def sent_away(client: Caller) -> None:
    client.send(half_a_request(1), frames.window_update(0, frames.MAX_WINDOW))
    await client.receive(Kind.GOAWAY)


async def reset_its_calls(client: Caller) -> None:
    client.call("Hang", stream_id=1)
    await client.receive(Kind.DATA)
    client.send(frames.rst_stream(1, ErrorCode.CANCEL), half_a_request(3))
    await handled(client)


WAYS = (left_half_way, left_while_answered, left_with_a_shut_window, sent_away, reset_its_calls)


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
async def test_what_a_client_sent_is_gone_with_its_connection(way: Any) -> None:
    async with running() as (service, server, address):
        with no_collector():
            before = live(*KINDS)
            async with caller(address) as client:
                await client.receive(Kind.SETTINGS)
                assert live("Transport")["Transport"] > before["Transport"]
                await way(client)
                client.writer.transport.abort()
            await until(lambda: not server.transports and not service.running)
            await some_turns()

            assert live(*KINDS) == before
            assert server.store.num_bytes == 0


async def test_a_call_that_ended_is_gone_while_its_connection_goes_on() -> None:
    async with running() as (_, _, address), caller(address) as client:
        with no_collector():
            before = live("Call", "ServerStream", "RequestReader", "Inbox")
            for stream_id in range(1, 9, 2):
                client.call("Echo", b"x" * 1000, stream_id)
                assert await status(client) == "0"
            await some_turns()

            assert live("Call", "ServerStream", "RequestReader", "Inbox") == before


async def test_a_request_that_does_not_come_ends_in_time() -> None:
    async with running(limits=replace(LIMITS, body_timeout_s=0.1)) as (_, server, address):
        async with caller(address) as client:
            client.send(half_a_request())

            assert await status(client) == "4"
        assert server.store.num_bytes == 0


async def test_a_request_that_has_come_may_take_longer_than_its_body() -> None:
    async with (
        running(limits=replace(LIMITS, body_timeout_s=0.05)) as (service, _, address),
        caller(address) as client,
        caller(address) as other,
    ):
        client.call("Hang")
        await client.receive(Kind.DATA)
        other.send(half_a_request())

        assert await status(other) == "4"
        assert service.running == 1


@pytest.mark.parametrize("method", ["Flood", "Echo"])
async def test_a_reader_who_stands_still_is_not_waited_for(method: str) -> None:
    told: list[bool] = []
    limits = replace(LIMITS, call_timeout_s=0.2, on_cut_off=lambda: told.append(True))
    async with (
        running(limits=limits) as (service, server, address),
        caller(address, PREFACE, SHUT) as client,
    ):
        client.call(method, b"1000")

        assert await status(client) == "4"
        assert not service.running
        assert all(each.is_idle for each in server.transports)
        assert told == [True]


async def test_a_reader_who_stands_still_has_its_deadline() -> None:
    async with running() as (_, _, address), caller(address, PREFACE, SHUT) as client:
        client.send(request(1, (":path", "/t/Echo"), ("grpc-timeout", "200m")))
        client.send(data(prefixed(b"x"), 1, END_STREAM))

        assert await status(client) == "4"


async def test_a_slow_reader_reads_to_the_end() -> None:
    async with (
        running(limits=replace(LIMITS, call_timeout_s=30)) as (_, server, address),
        caller(address, PREFACE, SHUT) as client,
    ):
        client.call("Echo", b"hello")
        await client.receive(Kind.HEADERS)
        for _ in range(10):
            client.send(frames.window_update(1, 1))
            await client.receive(Kind.DATA)

        assert await status(client) == "0"
        assert all(each.is_idle for each in server.transports)


async def test_a_method_of_one_message_takes_no_second() -> None:
    async with running() as (service, _, address), caller(address) as client:
        client.send(request(1, (":path", "/t/Hang")), data(prefixed(b"x") * 2, 1))

        assert await status(client) == "12"
        assert not service.running


async def test_one_connection_more_sends_the_longest_idle_away() -> None:
    async with (
        running(limits=replace(LIMITS, max_connections=2)) as (service, server, address),
        caller(address) as busy,
        caller(address) as idle,
    ):
        busy.call("Hang")
        await busy.receive(Kind.DATA)
        await until(lambda: len(server.transports) == 2)
        async with caller(address) as third:
            third.call("Echo")
            await third.receive(Kind.DATA)

            assert (await idle.receive(Kind.GOAWAY))[3][4:8] == bytes(4)
            assert service.running == 1


async def test_where_all_are_busy_one_connection_more_is_refused() -> None:
    async with (
        running(limits=replace(LIMITS, max_connections=1)) as (service, _, address),
        caller(address) as busy,
    ):
        busy.call("Hang")
        await busy.receive(Kind.DATA)
        async with caller(address) as second:
            await second.ends()

        assert service.running == 1


async def test_who_makes_the_server_hold_most_has_to_make_room() -> None:
    async with running() as (_, server, address), AsyncExitStack() as stack:
        small = await stack.enter_async_context(caller(address))
        small.send(request(1, (":path", "/t/Join")), data(prefixed(b"a little")[:9]))
        clients = [await stack.enter_async_context(caller(address)) for _ in range(HELD_MESSAGES)]
        for client in clients:
            client.send(half_a_request(1), half_a_request(3))
        first = asyncio.ensure_future(asyncio.wait({*map(asyncio.ensure_future, ends(clients))},
            return_when=asyncio.FIRST_COMPLETED))  # fmt: skip
        done, rest = await first
        small.send(data(prefixed(b"a little")[9:], 1, END_STREAM))

        assert {task.result() for task in done} == {"8"}
        assert (await small.receive(Kind.DATA))[3] == prefixed(b"a little")
        assert server.store.num_bytes <= LIMITS.max_held_bytes
        for task in rest:
            task.cancel()


def ends(clients: list[Caller]) -> Iterator[Any]:
    return (status(client) for client in clients)


def test_a_store_asks_who_holds_most() -> None:
    class Holder:
        """A client that lets go of all it has, when asked."""

        def shed(self) -> None:
            store.note(self, 0)

    store, small, large = Store(100), Holder(), Holder()
    store.note(small, 30)
    store.note(large, 60)

    store.note(small, 50)

    assert store.num_bytes == 50
    store.note(small, 0)
    assert store.num_bytes == 0


async def test_a_flood_on_one_connection_has_its_turns_like_all_others() -> None:
    async with running() as (_, _, address), caller(address) as flood, caller(address) as good:
        await good.receive(Kind.SETTINGS)
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(turn)

        flood.send(bytes.fromhex("000000 fa 00 00000000") * (6 * TURN))
        flood.send(frames.frame(Kind.PING, 0, 0, bytes(8)))
        turn()
        await flood.receive(Kind.PING)

        assert turns >= 6


async def test_a_connection_that_was_behind_reads_on() -> None:
    async with running() as (_, _, address), caller(address) as client:
        for number in range(4):
            client.send(bytes.fromhex("000000 fa 00 00000000") * (TURN + 7))
            client.call("Echo", b"hello", 2 * number + 1)

            assert (await client.receive(Kind.DATA))[3] == prefixed(b"hello")


def test_those_who_wait_have_one_turn_in_each_turn_of_the_loop() -> None:
    class Waiting:
        """A connection that needs three turns."""

        def __init__(self, name: str) -> None:
            self._name, self._left = name, 3

        def take_turn(self) -> None:
            had.append(self._name)
            self._left -= 1
            if self._left:
                turns.queue(self)

    async def wait() -> list[int]:
        for name in "abc":
            turns.queue(Waiting(name))
        sizes = []
        while not turns.is_free(SMALL_BYTES + 1):
            await asyncio.sleep(0)
            sizes.append(len(had))
        return sizes

    had: list[str] = []
    turns = Turns()

    assert asyncio.run(wait()) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert had == [*"abcabcabc"]
    assert turns.is_free(2**20)


async def test_a_call_does_not_wait_for_those_who_say_much() -> None:
    async with running() as (_, server, address), caller(address) as good:
        await good.receive(Kind.SETTINGS)
        handled: list[str] = []
        endless = _Endless(server.turns, handled)
        server.turns.queue(endless)
        good.call("Echo", b"hello")

        assert (await good.receive(Kind.DATA))[3] == prefixed(b"hello")
        assert len(handled) > 1
        endless.is_done = True


class _Endless:
    """A connection that is never done."""

    def __init__(self, turns: Turns, handled: list[str]) -> None:
        self._turns, self._handled = turns, handled
        self.is_done = False

    def take_turn(self) -> None:
        self._handled.append("turn")
        if not self.is_done:
            self._turns.queue(self)


async def test_those_who_say_much_for_nothing_wait_for_longer() -> None:
    had: list[str] = []

    class One:
        """A connection that notes its turn."""

        def __init__(self, name: str) -> None:
            self._name = name

        def take_turn(self) -> None:
            had.append(self._name)

    turns = Turns()
    turns.queue(One("tries us"), is_trying=True)
    for _ in range(5):
        turns.queue(One("waits"))
    await until(lambda: turns.is_free(SMALL_BYTES + 1))

    assert had == ["waits"] * 5 + ["tries us"]


async def test_many_calls_whose_client_is_gone_do_not_end_in_one_turn() -> None:
    async with running() as (service, _, address), caller(address) as client:
        for stream_id in range(1, 201, 2):
            client.call("Hang", stream_id=stream_id)
        await until(lambda: service.running == 100)
        seen: set[int] = set()
        client.writer.transport.abort()
        while service.running:
            await asyncio.sleep(0)
            seen.add(service.running)

        assert len(seen) >= 100 // LEFT_A_TURN


async def test_a_client_that_gives_up_calls_waits_where_others_do_not() -> None:
    async with running() as (_, server, address), caller(address) as client:
        cut = b"".join(
            request(id, (":path", "/t/Hang")) + frames.rst_stream(id, ErrorCode.CANCEL)
            for id in range(1, 401, 2)
        )
        client.send(cut)
        await until(lambda: bool(server.turns._trying))
        async with caller(address) as good:
            good.call("Echo", b"hello")

            assert (await good.receive(Kind.DATA))[3] == prefixed(b"hello")
            assert server.turns._trying
        await handled(client)
