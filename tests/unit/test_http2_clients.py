"""Clients of grpc's own, asynchronous and threaded, at our server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from gateway.http2.server.fields import MAX_FIELDS_BYTES
from tests.grpc_service import MAX_MESSAGE_BYTES, Service, running, until

NUM_STREAMS = 256


@pytest.fixture
async def served() -> AsyncIterator[tuple[Service, str, grpc.aio.Channel]]:
    async with (
        running() as (service, _, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield service, address, channel


Served = tuple[Service, str, grpc.aio.Channel]


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def test_calls_of_all_four_kinds_are_answered(served: Served) -> None:
    _, _, channel = served

    assert await channel.unary_unary("/t/Echo")(b"hello") == b"hello"
    assert [m async for m in channel.unary_stream("/t/Count")(b"3")] == [b"0", b"1", b"2"]
    assert await channel.stream_unary("/t/Join")(iter([b"a", b"", b"c"])) == b"ac"
    talk = channel.stream_stream("/t/Talk")(iter([b"a", b"b"]))
    assert [m async for m in talk] == [b"A", b"B"]


async def test_a_talk_goes_back_and_forth(served: Served) -> None:
    _, _, channel = served
    talk = channel.stream_stream("/t/Talk")()
    heard = []

    for said in (b"one", b"two"):
        await talk.write(said)
        heard.append(await talk.read())
    await talk.done_writing()

    assert heard == [b"ONE", b"TWO"]
    assert await talk.read() is grpc.aio.EOF
    assert await talk.code() is grpc.StatusCode.OK


async def test_metadata_goes_both_ways(served: Served) -> None:
    service, _, channel = served
    mine = [("x-big", "x" * 7000), ("x-bytes-bin", bytes(range(256)))]

    call = channel.unary_unary("/t/Echo")(b"", metadata=mine)

    first, last = await call.initial_metadata(), await call.trailing_metadata()
    assert [pair for pair in service.seen if pair[0].startswith("x-")] == mine
    assert first["x-first"] == "1" and last["x-last-bin"] == b"\0\xff"
    assert last["x-peer"].startswith("ipv4:127.0.0.1:")


async def test_too_much_metadata_is_refused(served: Served) -> None:
    _, _, channel = served
    metadata = [(f"x-{number}", "x" * 1000) for number in range(MAX_FIELDS_BYTES // 1000 + 1)]

    error = await failure(channel.unary_unary("/t/Echo")(b"", metadata=metadata))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await channel.unary_unary("/t/Echo")(b"still") == b"still"


@pytest.mark.parametrize("kind", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_read(served: Served, kind: grpc.Compression) -> None:
    _, _, channel = served

    said = await channel.unary_unary("/t/Echo")(b"abc" * 10_000, compression=kind)

    assert said == b"abc" * 10_000


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["plain", "gzip"])
async def test_a_message_above_the_limit_is_refused(
    served: Served, compression: grpc.Compression | None
) -> None:
    _, _, channel = served
    body = bytes(MAX_MESSAGE_BYTES + 1)

    error = await failure(channel.unary_unary("/t/Echo")(body, compression=compression))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("method", "code", "details"),
    [
        ("/t/Nobody", grpc.StatusCode.UNIMPLEMENTED, "there is no method /t/Nobody"),
        ("/t/Abort", grpc.StatusCode.NOT_FOUND, "no such thing: 100 %, é"),
        ("/t/Code", grpc.StatusCode.ABORTED, "try again"),
        ("/t/Break", grpc.StatusCode.UNKNOWN, "the handler failed"),
    ],
)
async def test_calls_that_fail_say_why(
    served: Served, method: str, code: grpc.StatusCode, details: str
) -> None:
    _, _, channel = served

    error = await failure(channel.unary_unary(method)(b""))

    assert (error.code(), error.details()) == (code, details)


async def test_the_trailers_of_an_aborted_call_arrive(served: Served) -> None:
    _, _, channel = served

    error = await failure(channel.unary_unary("/t/Abort")(b""))

    assert error.trailing_metadata()["x-why"] == "so"


async def test_one_message_too_few_or_many_is_refused(served: Served) -> None:
    _, _, channel = served

    errors = [
        await failure(channel.stream_unary("/t/Echo")(iter(said))) for said in ([], [b"a", b"b"])
    ]

    assert {error.code() for error in errors} == {grpc.StatusCode.UNIMPLEMENTED}


async def test_a_deadline_ends_the_handler(served: Served) -> None:
    service, _, channel = served
    call = channel.unary_stream("/t/Hang")(b"", timeout=0.3)

    left = float(await call.read())

    assert 0.1 < left <= 0.31
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: not service.running)


async def test_a_call_given_up_ends_the_handler(served: Served) -> None:
    service, _, channel = served
    call = channel.unary_stream("/t/Hang")(b"")
    assert await call.read() == b"None"

    call.cancel()

    await until(lambda: not service.running)


async def test_a_channel_that_closes_ends_its_handlers(served: Served) -> None:
    service, address, _ = served
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_stream("/t/Hang")(b"")
        await call.read()
        assert service.running == 1

    await until(lambda: not service.running)


async def test_a_reader_that_stops_makes_its_handler_wait_and_no_other(served: Served) -> None:
    service, _, channel = served
    flood = channel.unary_stream("/t/Flood")(b"100000")
    await flood.read()
    before = await service.stuck()

    assert await asyncio.wait_for(channel.unary_unary("/t/Echo")(b"hello"), 1) == b"hello"
    assert service.written == before < 50_000
    for _ in range(before):
        await flood.read()
    await until(lambda: service.written > before)
    flood.cancel()


async def test_a_large_message_arrives_in_a_small_window(served: Served) -> None:
    _, address, _ = served
    options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        body = bytes(MAX_MESSAGE_BYTES)
        assert await channel.unary_unary("/t/Echo")(body) == body


async def test_many_streams_on_several_connections_all_end(served: Served) -> None:
    _, address, _ = served

    async def count(channel: grpc.aio.Channel) -> int:
        return len([message async for message in channel.unary_stream("/t/Count")(b"50")])

    async with AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
            for _ in range(4)
        ]
        counts = await asyncio.gather(*(count(channels[n % 4]) for n in range(NUM_STREAMS)))

    assert counts == [50] * NUM_STREAMS


async def test_more_streams_than_are_allowed_wait_their_turn(served: Served) -> None:
    _, _, channel = served

    answers = await asyncio.gather(*(channel.unary_unary("/t/Echo")(b"x") for _ in range(1500)))

    assert answers == [b"x"] * 1500


async def test_a_client_that_pings_too_often_is_told(served: Served) -> None:
    service, address, _ = served
    options = [
        ("grpc.keepalive_time_ms", 50),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.unary_stream("/t/Hang")(b"")
        await call.read()
        error = await failure(call.read())

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "too_many_pings" in error.details() or "Too many pings" in error.details()
    await until(lambda: not service.running)


def threaded(address: str) -> tuple[list[bytes], bytes, grpc.StatusCode]:
    """Ask as a client with threads does."""
    with grpc.insecure_channel(address, compression=grpc.Compression.Gzip) as channel:
        counted = list(channel.unary_stream("/t/Count")(b"3", timeout=5))
        joined = channel.stream_unary("/t/Join")(iter([b"a", b"b"]), timeout=5)
        with pytest.raises(grpc.RpcError) as failed:
            list(channel.unary_stream("/t/Hang")(b"", timeout=0.2))
    return counted, joined, failed.value.code()


async def test_a_client_with_threads_is_answered(served: Served) -> None:
    _, address, _ = served

    counted, joined, code = await asyncio.to_thread(threaded, address)

    assert (counted, joined) == ([b"0", b"1", b"2"], b"ab")
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
