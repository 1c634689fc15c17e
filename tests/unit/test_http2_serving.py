"""Our server on a socket, its clients frame by frame: what they may do to it, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from gateway.http2 import frames
from gateway.http2.frames import (
    ACK,
    END_STREAM,
    PREFACE,
    ErrorCode,
    FrameReader,
    Kind,
    Setting,
)
from gateway.http2.messages import prefixed
from gateway.http2.server import transport
from gateway.http2.server.server import Server
from tests.grpc_service import LIMITS, Service, running, until
from tests.http2 import data, read_block, request

OPEN_WIDE = frames.settings([(Setting.INITIAL_WINDOW_SIZE, frames.MAX_WINDOW)])


class Caller:
    """A client that says what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._frames = FrameReader()
        self._arrived: list[frames.Frame] = []

    def send(self, *wire: bytes) -> None:
        self.writer.write(b"".join(wire))

    def call(self, method: str, body: bytes = b"", stream_id: int = 1) -> None:
        self.send(request(stream_id, (":path", f"/t/{method}")))
        self.send(data(prefixed(body), stream_id, END_STREAM))

    async def receive(self, kind: Kind) -> frames.Frame:
        """Return the next frame of a kind, skipping others. Raises EOFError."""
        while True:
            while self._arrived:
                arrived = self._arrived.pop(0)
                if arrived[0] == kind:
                    return arrived
            received = await asyncio.wait_for(self._reader.read(65536), 3)
            if not received:
                raise EOFError
            self._arrived += self._frames.feed(received)

    async def ends(self) -> None:
        """Wait until the server closes the connection."""
        with pytest.raises((EOFError, ConnectionError)):
            await self.receive(Kind.PUSH_PROMISE)


@asynccontextmanager
async def caller(address: str, *greeting: bytes) -> AsyncIterator[Caller]:
    host, port = address.split(":")
    connected = Caller(*await asyncio.open_connection(host, int(port)))
    connected.send(*(greeting or (PREFACE, frames.settings(()))))
    try:
        yield connected
    finally:
        connected.writer.close()


@pytest.fixture
async def served() -> AsyncIterator[tuple[Service, Server, str]]:
    async with running() as parts:
        yield parts


Served = tuple[Service, Server, str]


async def test_what_streams_say_in_one_turn_is_one_write(served: Served) -> None:
    _, _, address = served
    async with caller(address) as client:
        client.send(*(request(id, (":path", "/t/Echo")) for id in range(1, 65, 2)))
        client.send(*(data(prefixed(b"x"), id, END_STREAM) for id in range(1, 65, 2)))
        await client.receive(Kind.DATA)

        assert [kind for kind, *_ in client._arrived].count(Kind.DATA) == 31


async def test_a_lost_connection_ends_its_handlers_at_once(served: Served) -> None:
    service, server, address = served
    async with caller(address) as client:
        client.call("Hang")
        await client.receive(Kind.DATA)
        client.writer.transport.abort()

    await until(lambda: not service.running and not server.transports)


async def test_a_reset_ends_its_handler_and_no_other(served: Served) -> None:
    service, _, address = served
    async with caller(address) as client:
        client.call("Hang", stream_id=1)
        client.call("Hang", stream_id=3)
        await until(lambda: service.running == 2)
        client.send(frames.rst_stream(1, ErrorCode.CANCEL))
        await until(lambda: service.running == 1)


async def test_a_client_that_reads_nothing_holds_up_only_itself(served: Served) -> None:
    service, _, address = served
    async with caller(address, PREFACE, OPEN_WIDE, frames.window_update(0, 2**30)) as client:
        client.call("Flood", b"10000")
        before = await service.stuck()
        async with caller(address) as other:
            other.call("Echo", b"hello")
            assert (await other.receive(Kind.DATA))[3] == prefixed(b"hello")

    assert service.written == before


async def test_a_client_that_only_makes_us_answer_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BACKLOG_BYTES", 2**19)
    service, server, address = served
    async with caller(address, PREFACE, OPEN_WIDE, frames.window_update(0, 2**30)) as client:
        client.call("Flood", b"10000")
        await service.stuck()
        for first in range(3, 10_003, 1000):
            calls = (request(id, (":path", "/t/Nobody")) for id in range(first, first + 1000, 2))
            client.send(*calls)
            await asyncio.sleep(0.02)
        await until(lambda: not server.transports)


async def test_a_breach_of_one_who_reads_nothing_is_not_waited_for(served: Served) -> None:
    service, server, address = served
    async with caller(address, PREFACE, OPEN_WIDE, frames.window_update(0, 2**30)) as client:
        client.call("Flood", b"10000")
        await service.stuck()
        client.send(frames.frame(Kind.PING, 0, 0))
        await until(lambda: not server.transports)


async def test_a_silent_client_is_pinged_and_lives_while_it_answers(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_S", 0.1)
    monkeypatch.setattr(transport, "KEEPALIVE_TIMEOUT_S", 0.2)
    service, server, address = served
    async with caller(address) as client:
        client.call("Hang")
        for _ in range(3):
            ping = await client.receive(Kind.PING)
            client.send(frames.frame(Kind.PING, ACK, 0, ping[3]))
        assert service.running == 1
        await client.receive(Kind.PING)

        await until(lambda: not service.running and not server.transports)


async def test_who_connects_and_says_nothing_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_TIMEOUT_S", 0.1)
    _, _, address = served
    async with caller(address, PREFACE) as client:
        await client.ends()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00"])
async def test_who_speaks_something_else_is_cut_off(served: Served, said: bytes) -> None:
    _, _, address = served
    async with caller(address, said) as client:
        await client.ends()


async def test_a_breach_is_answered_with_its_reason(served: Served) -> None:
    service, _, address = served
    async with caller(address) as client:
        client.call("Hang")
        await client.receive(Kind.DATA)
        client.send(frames.window_update(0, frames.MAX_WINDOW))

        goaway = await client.receive(Kind.GOAWAY)
        await client.ends()

    assert goaway[3][:8] == bytes.fromhex("00000001 00000003")
    assert not service.running


async def test_a_drain_ends_with_the_last_call(served: Served) -> None:
    _, server, address = served
    async with caller(address) as idle, caller(address) as client:
        await idle.receive(Kind.SETTINGS)
        client.call("Count", b"1000")
        await client.receive(Kind.DATA)
        stopping = asyncio.ensure_future(server.stop(3))
        for each in (client, idle):
            goaway, ping = await each.receive(Kind.GOAWAY), await each.receive(Kind.PING)
            assert goaway[3] == bytes.fromhex("7fffffff 00000000")
            each.send(frames.frame(Kind.PING, ACK, 0, ping[3]))
        await idle.ends()
        last = await client.receive(Kind.HEADERS)
        await client.ends()
        await asyncio.wait_for(stopping, 1)

    assert dict(read_block(last[3]))["grpc-status"] == "0"


async def test_what_outlasts_a_drain_is_told_that_it_is_cut_off(served: Served) -> None:
    service, server, address = served
    async with caller(address) as client:
        client.call("Hang")
        await client.receive(Kind.DATA)
        await asyncio.wait_for(server.stop(0.1), 1)

        last = await client.receive(Kind.HEADERS)
        await client.ends()

    assert dict(read_block(last[3]))["grpc-status"] == "14"
    assert not service.running


async def test_a_stopped_server_takes_no_connections(served: Served) -> None:
    _, server, address = served
    await server.stop(None)

    with pytest.raises(OSError):
        async with caller(address):
            pass


async def test_two_servers_share_a_port(served: Served) -> None:
    service, _, address = served
    second = Server("127.0.0.1", int(address.split(":")[1]), LIMITS)
    second.add_generic_rpc_handlers([service])
    await second.start()
    async with AsyncExitStack() as stack:
        for _ in range(30):
            client = await stack.enter_async_context(caller(address))
            client.call("Echo")
            await client.receive(Kind.DATA)
        assert 0 < len(second.transports) < 30
    await second.stop(0)
