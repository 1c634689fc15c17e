"""Calls through a pool, on sockets, to servers that are scripted frame by frame."""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.http2 import frames, pool, stream
from gateway.http2.call import Call
from gateway.http2.frames import ErrorCode, Kind, Setting
from gateway.http2.messages import prefixed
from gateway.http2.pool import Pool
from gateway.http2.status import Code, StatusError
from tests.http2 import Peer, data, message, read_block, response, serving, trailers


class Text(str):
    """A message that is its own text."""

    def SerializeToString(self) -> bytes:
        return self.encode()


Start = Callable[..., Call]


@asynccontextmanager
async def calls_to(address: str) -> AsyncIterator[Start]:
    """Yield what starts a call; close the pool after."""
    server = Pool(address, "/test/Stream")
    try:
        yield lambda **options: Call(server, **options)
    finally:
        await server.close()


async def ask(call: Call, text: str = "ask") -> list[str]:
    """Return all answers to a request. Raises StatusError."""
    await call.write(Text(text))
    await call.done_writing()
    return [answer async for answer in texts(call)]


async def texts(call: Call) -> AsyncIterator[str]:
    async for messages in call:
        for each in messages:
            yield each.decode()


async def failure(call: Call) -> StatusError:
    with pytest.raises(StatusError) as caught:
        await ask(call)
    return caught.value


async def echo(peer: Peer) -> None:
    """Answer every request with its text, twice."""
    await peer.greet()
    while True:
        _, _, stream_id, payload = await peer.receive(Kind.DATA)
        answer = message(payload[5:], stream_id)
        peer.send(response(stream_id), answer, answer, trailers(stream_id))


async def silent(peer: Peer) -> None:
    """Take requests and answer none."""
    await peer.greet()
    await peer.receive(Kind.PUSH_PROMISE)


async def test_a_call_is_answered() -> None:
    async with serving(echo) as address, calls_to(address) as start:
        assert await ask(start(), "hello") == ["hello", "hello"]


def has_ipv6_loopback() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex(("::1", 1)) == errno.ECONNREFUSED


@pytest.mark.skipif(not has_ipv6_loopback(), reason="no IPv6 here")
async def test_a_server_may_have_an_ipv6_address() -> None:
    async with serving(echo, host="::1") as address, calls_to(address) as start:
        assert address.startswith("[::1]:")
        assert await ask(start(), "hello") == ["hello", "hello"]


async def test_many_calls_share_one_connection() -> None:
    peers = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await echo(peer)

    async with serving(script) as address, calls_to(address) as start:
        answers = await asyncio.gather(*(ask(start(), str(i)) for i in range(100)))

    assert answers == [[str(i)] * 2 for i in range(100)]
    assert len(peers) == 1


async def test_another_connection_opens_when_the_server_takes_no_more_on_one() -> None:
    opened: list[int] = []
    all_open = asyncio.Event()

    async def script(peer: Peer) -> None:
        opened.append(0)
        here = len(opened) - 1
        await peer.greet(frames.settings([(Setting.MAX_CONCURRENT_STREAMS, 3)]))
        for _ in range(3):
            await peer.receive(Kind.HEADERS)
            opened[here] += 1
            if sum(opened) == 8:
                all_open.set()
        await peer.receive(Kind.PUSH_PROMISE)

    async with serving(script) as address, calls_to(address) as start:
        running = [asyncio.create_task(ask(start())) for _ in range(8)]
        await all_open.wait()
        for task in running:
            task.cancel()

    assert opened == [3, 3, 2]


async def test_a_server_that_takes_no_calls_is_not_asked_again_and_again() -> None:
    peers = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.greet(frames.settings([(Setting.MAX_CONCURRENT_STREAMS, 0)]))
        await peer.receive(Kind.HEADERS)

    async with serving(script) as address, calls_to(address) as start:
        assert (await failure(start())).code == Code.UNAVAILABLE

    assert len(peers) == 1


async def test_headers_bring_the_deadline_and_the_callers_metadata() -> None:
    blocks = []

    async def script(peer: Peer) -> None:
        await peer.greet()
        blocks.append((await peer.receive(Kind.HEADERS))[3])
        peer.send(response(), trailers())

    async with serving(script) as address, calls_to(address) as start:
        await ask(start(timeout_s=20, metadata=[("x-request-id", "r1")]))

    headers = dict(read_block(blocks[0]))
    assert headers[":authority"] == address
    assert headers["x-request-id"] == "r1"
    assert 19_000 < int(headers["grpc-timeout"].removesuffix("m")) <= 20_001


async def test_a_deadline_ends_a_silent_call_on_both_sides() -> None:
    resets: asyncio.Queue[Any] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.greet()
        resets.put_nowait(await peer.receive(Kind.RST_STREAM))

    async with serving(script) as address, calls_to(address) as start:
        error = await failure(start(timeout_s=0.1))
        reset = await asyncio.wait_for(resets.get(), 2)

    assert error.code == Code.DEADLINE_EXCEEDED
    assert reset == (Kind.RST_STREAM, 0, 1, ErrorCode.CANCEL.to_bytes(4, "big"))


async def test_a_server_that_cancels_at_the_deadline_means_the_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive(Kind.DATA)
        time.sleep(0.1)  # noqa: ASYNC251 - the loop lags: reset and timer come due together
        peer.send(frames.rst_stream(1, ErrorCode.CANCEL))

    async with serving(script) as address, calls_to(address) as start:
        assert (await failure(start(timeout_s=0.1))).code == Code.DEADLINE_EXCEEDED


async def test_no_time_left_is_told_before_anything_is_sent() -> None:
    async with calls_to("127.0.0.1:1") as start:
        assert (await failure(start(timeout_s=0))).code == Code.DEADLINE_EXCEEDED


async def test_a_server_that_accepts_but_never_greets_does_not_outlast_the_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.listen()

    async with serving(script) as address, calls_to(address) as start:
        assert (await failure(start(timeout_s=0.1))).code == Code.DEADLINE_EXCEEDED


async def test_cancelling_resets_the_stream_and_leaves_the_connection() -> None:
    resets: asyncio.Queue[Any] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive(Kind.DATA)
        peer.send(response(), message(b"first"))
        resets.put_nowait(await peer.receive(Kind.RST_STREAM))
        await peer.receive(Kind.DATA)
        peer.send(response(3), message(b"second", 3), trailers(3))

    async with serving(script) as address, calls_to(address) as start:
        call = start()
        await call.write(Text("ask"))
        await call.done_writing()
        first = await call.__anext__()
        call.cancel()
        call.cancel()
        reset = await asyncio.wait_for(resets.get(), 2)
        second = await ask(start())

    assert (first, second) == ([b"first"], ["second"])
    assert reset == (Kind.RST_STREAM, 0, 1, ErrorCode.CANCEL.to_bytes(4, "big"))


async def test_a_cancelled_call_has_no_more_messages() -> None:
    async with serving(silent) as address, calls_to(address) as start:
        call = start()
        await call.write(Text("ask"))
        await call.done_writing()
        call.cancel()

        with pytest.raises(StatusError) as caught:
            await call.__anext__()

    assert caught.value.code == Code.CANCELLED


async def test_a_lost_connection_fails_its_calls_after_what_had_arrived() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive(Kind.DATA)
        peer.send(response(), message(b"first"))

    async with serving(script) as address, calls_to(address) as start:
        call = start()
        await call.write(Text("ask"))
        await call.done_writing()
        got = []
        with pytest.raises(StatusError) as caught:
            async for text in texts(call):
                got.append(text)

    assert got == ["first"]
    assert caught.value.code == Code.UNAVAILABLE


async def test_a_server_that_comes_back_is_found_again() -> None:
    async with serving(echo) as address, calls_to(address) as start:
        await ask(start())
        port = int(address.rpartition(":")[2])

    async with calls_to(address) as start:
        refused = await failure(start())
        async with serving(echo, port):
            await asyncio.sleep(pool.FIRST_BACKOFF_S * 3)
            assert await ask(start(), "again") == ["again"] * 2

    assert refused.code == Code.UNAVAILABLE


async def test_a_server_that_refuses_is_left_alone_for_a_while() -> None:
    async with serving(echo) as address:
        port = int(address.rpartition(":")[2])

    async with calls_to(address) as start:
        await failure(start())
        async with serving(echo, port):
            assert (await failure(start())).code == Code.UNAVAILABLE


async def test_a_server_that_drops_connections_is_left_alone_for_a_while() -> None:
    peers = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.greet()

    async with serving(script) as address, calls_to(address) as start:
        failures = [await failure(start()) for _ in range(20)]

    assert {each.code for each in failures} == {Code.UNAVAILABLE}
    assert len(peers) < 5


async def test_the_last_call_cancelled_lets_a_server_go_that_is_leaving() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive(Kind.DATA)
        peer.send(response(), message(b"first"))
        peer.send(frames.frame(Kind.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4)))
        try:
            await peer.receive(Kind.PUSH_PROMISE)
        except EOFError:
            gone.set()

    async with serving(script) as address, calls_to(address) as start:
        call = start()
        await call.write(Text("ask"))
        await call.done_writing()
        await anext(texts(call))
        await asyncio.sleep(0)
        call.cancel()

        await asyncio.wait_for(gone.wait(), 3)


async def test_a_server_that_breaks_the_protocol_fails_its_calls() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive(Kind.DATA)
        peer.send(bytes.fromhex("000004 05 04 00000001 00000002"))
        await peer.receive(Kind.GOAWAY)

    async with serving(script) as address, calls_to(address) as start:
        assert (await failure(start())).code == Code.UNAVAILABLE


async def test_a_server_that_is_going_away_gets_no_new_calls() -> None:
    served = []

    async def script(peer: Peer) -> None:
        served.append(peer)
        await peer.greet()
        await peer.receive(Kind.DATA)
        peer.send(frames.frame(Kind.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4)))
        peer.send(response(), trailers())
        await peer.receive(Kind.DATA)

    async with serving(script) as address, calls_to(address) as start:
        await ask(start())
        await ask(start())

    assert len(served) == 2


async def test_what_nobody_reads_stays_on_the_server_and_holds_up_no_other() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.greet()
        await peer.receive(Kind.DATA)
        peer.send(response())
        window = frames.DEFAULT_WINDOW
        while window >= 1005:
            peer.send(message(bytes(1000)))
            window -= 1005
            sent += 1
        _, _, stream_id, payload = await peer.receive(Kind.DATA)
        peer.send(response(stream_id), message(payload[5:], stream_id), trailers(stream_id))
        await peer.receive(Kind.WINDOW_UPDATE)
        peer.send(message(b"last"), trailers())

    async with serving(script) as address, calls_to(address) as start:
        slow = start()
        await slow.write(Text("ask"))
        await slow.done_writing()

        assert await ask(start(), "other") == ["other"]
        answers = [text async for text in texts(slow)]

    assert answers == ["\0" * 1000] * sent + ["last"]
    assert sent == stream.WINDOW // 1005


@pytest.mark.parametrize("size", [0, 3, 300, 7_000, 40_000])
async def test_the_window_never_closes_on_a_reader_that_keeps_up(size: int) -> None:
    count = 200_000 // (size + 5)

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive(Kind.DATA)
        peer.send(response())
        window, wire = frames.DEFAULT_WINDOW, prefixed(bytes(size)) * count
        while wire:
            while window == 0:
                _, _, stream_id, payload = await peer.receive(Kind.WINDOW_UPDATE)
                window += int.from_bytes(payload, "big") if stream_id else 0
            piece, wire = wire[: min(window, 1_000)], wire[min(window, 1_000) :]
            peer.send(data(piece))
            window -= len(piece)
        peer.send(trailers())

    async with serving(script) as address, calls_to(address) as start:
        assert await asyncio.wait_for(ask(start()), 20) == ["\0" * size] * count


async def test_a_large_request_goes_out_as_the_server_lets_it() -> None:
    received: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.greet()
        while sum(received) < 500_005:
            _, _, _, payload = await peer.receive(Kind.DATA)
            received.append(len(payload))
            peer.send(frames.window_update(0, len(payload)), frames.window_update(1, len(payload)))
        peer.send(response(), trailers())

    async with serving(script) as address, calls_to(address) as start:
        assert await ask(start(), "x" * 500_000) == []

    assert sum(received) == 500_005
    assert max(received) <= frames.DEFAULT_FRAME_BYTES


async def test_a_server_that_only_sends_pings_cannot_make_us_hold_answers() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        while True:
            peer.send(frames.frame(Kind.PING, 0, 0, bytes(8)) * 4000)
            await peer.writer.drain()

    async with serving(script) as address, calls_to(address) as start:
        assert (await failure(start(timeout_s=20))).code == Code.UNAVAILABLE


async def test_a_closed_pool_takes_no_calls() -> None:
    is_asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive(Kind.DATA)
        is_asked.set()
        await peer.receive(Kind.PUSH_PROMISE)

    async with serving(script) as address:
        server = Pool(address, "/test/Stream")
        running = asyncio.create_task(ask(Call(server)))
        await is_asked.wait()

        await server.close()

        with pytest.raises(StatusError):
            await running
        assert (await failure(Call(server))).code == Code.UNAVAILABLE
        assert server.num_connections == 0
