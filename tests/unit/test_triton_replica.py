"""A replica's calls, over real connections to a Triton that says what a test wants."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, get_args

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2 as pb

from gateway.errors import EngineTimeout, EngineUnavailable
from gateway.origin import Origin, origin
from gateway.triton.call import EngineRequest, responses
from gateway.triton.channel import Channel, TransportName
from gateway.triton.replica import Progress, Readiness, Replica
from tests.engines import asked

METHOD = "/inference.GRPCInferenceService/ModelReady"


class HalfSilent(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A Triton that sends `num_messages` and then no more; `left` tells of a cancelled call."""

    def __init__(self) -> None:
        self.num_messages = 1
        self.left = asyncio.Event()

    def service(self, call: Any) -> Any:
        if call.method == METHOD:
            return grpc.unary_unary_rpc_method_handler(self._ready)
        return grpc.stream_stream_rpc_method_handler(self._stream)

    async def _ready(self, _: bytes, __: Any) -> bytes:
        return bytes(pb.ModelReadyResponse(ready=True).SerializeToString())

    async def _stream(self, requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            for _ in range(self.num_messages):
                yield pb.ModelStreamInferResponse().SerializeToString()
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()


@pytest.fixture
async def triton() -> AsyncIterator[tuple[HalfSilent, str]]:
    handler, server = HalfSilent(), grpc.aio.server()
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield handler, f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture(params=get_args(TransportName))
async def replica(
    request: pytest.FixtureRequest, triton: tuple[HalfSilent, str]
) -> AsyncIterator[Replica]:
    channel = Channel(triton[1], transport=request.param)
    yield Replica(channel, "m")
    await channel.close()


def ask(replica: Replica, is_streamed: bool = True) -> AsyncGenerator[Any, None]:
    request = EngineRequest("1", is_streamed=is_streamed)
    message = pb.ModelInferRequest(model_name="m", id="1")
    return responses(asked(replica, message, request), request)


async def test_what_comes_of_open_calls_is_seen(replica: Replica) -> None:
    assert replica.look() == Progress(0, has_come=False, is_decoding=False)
    items = ask(replica)

    await anext(items)

    assert replica.look() == Progress(1, has_come=True, is_decoding=True, are_streams=True)
    assert replica.look() == Progress(1, has_come=False, is_decoding=True, are_streams=True)
    await items.aclose()
    assert replica.look() == Progress(0, has_come=False, is_decoding=False)


async def test_an_answer_that_comes_whole_tells_nothing_of_decoding(replica: Replica) -> None:
    items = ask(replica, is_streamed=False)

    await anext(items)

    assert replica.look() == Progress(1, has_come=True, is_decoding=False)


async def test_lost_calls_end_with_a_stated_error_and_are_cancelled(
    triton: tuple[HalfSilent, str], replica: Replica
) -> None:
    items = ask(replica)
    await anext(items)
    waiting = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)

    replica.fail_open("The model's process does not answer.")

    with pytest.raises(EngineUnavailable, match="process does not answer") as raised:
        await asyncio.wait_for(waiting, 10)
    assert raised.value.retry_after_s
    assert replica.trouble.is_set()
    assert replica.look().num_open == 0
    await asyncio.wait_for(triton[0].left.wait(), 10)


async def test_a_retired_replica_refuses_at_once_and_serves_again_when_restored(
    replica: Replica,
) -> None:
    replica.retire("The model's process does not answer.")

    with pytest.raises(EngineUnavailable, match="does not answer") as raised:
        await anext(ask(replica))

    assert raised.value.retry_after_s
    replica.restore()
    assert await anext(ask(replica)) is not None


async def test_a_stream_without_a_first_token_in_time_is_ended(
    triton: tuple[HalfSilent, str],
) -> None:
    triton[0].num_messages = 0
    channel = Channel(triton[1])
    replica = Replica(channel, "m", first_token_timeout_s=0.05)
    late = [asyncio.ensure_future(anext(ask(replica, streamed))) for streamed in (True, False)]

    while not late[0].done():
        replica.look()
        await asyncio.sleep(0.01)

    assert "no first token in time" in str(late[0].exception())
    assert not late[1].done()
    late[1].cancel()
    await asyncio.wait(late)
    await channel.close()


@pytest.mark.parametrize(
    ("num_messages", "came"),
    [
        pytest.param(0, Origin(first_token_by=0.0), id="first-token"),
        pytest.param(1, Origin(token_timeout_s=0.05), id="between-tokens"),
    ],
)
async def test_a_stream_that_misses_its_callers_deadline_for_a_token_is_ended_in_triton(
    triton: tuple[HalfSilent, str], replica: Replica, num_messages: int, came: Origin
) -> None:
    triton[0].num_messages = num_messages
    origin.set(came)
    late, whole = [
        asyncio.ensure_future(all_of(ask(replica, streamed))) for streamed in (True, False)
    ]

    while not late.done():
        replica.look()
        await asyncio.sleep(0.01)

    assert isinstance(late.exception(), EngineTimeout)
    assert not whole.done()
    await asyncio.wait_for(triton[0].left.wait(), 10)
    whole.cancel()
    await asyncio.wait([whole])


async def all_of(items: AsyncGenerator[Any, None]) -> list[Any]:
    return [item async for item in items]


async def test_the_time_in_which_nobody_reads_is_none_between_tokens(
    triton: tuple[HalfSilent, str],
) -> None:
    channel = Channel(triton[1])
    replica = Replica(channel, "m", token_timeout_s=1e-9)
    items = ask(replica)
    await anext(items)

    for _ in range(10):
        replica.look()
        await asyncio.sleep(0.001)
    waiting = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    was_cut_before = waiting.done()
    replica.look()

    assert not was_cut_before
    with pytest.raises(EngineTimeout):
        await asyncio.wait_for(waiting, 10)
    await channel.close()


async def test_readiness_tells_a_triton_that_is_gone_from_one_that_is_ready(
    replica: Replica,
) -> None:
    assert await replica.readiness() is Readiness.READY

    gone = Channel("127.0.0.1:1")
    assert await Replica(gone, "m").readiness() is Readiness.UNREACHABLE
    await gone.close()


async def test_a_server_that_accepts_and_says_nothing_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = Channel(f"127.0.0.1:{server.getsockname()[1]}")

        assert await Replica(channel, "m").readiness() is Readiness.SILENT

        await channel.close()


async def test_a_triton_that_comes_back_is_found_by_one_of_the_next_looks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    replica, looks = Replica(Channel(f"127.0.0.1:{port}"), "m"), 0
    for _ in range(30):  # as long as it takes for gRPC's own pauses to have grown
        assert await replica.readiness() is Readiness.UNREACHABLE
        await asyncio.sleep(0.1)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([HalfSilent()])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()

    while await replica.readiness() is not Readiness.READY:
        looks += 1
        await asyncio.sleep(0.1)

    assert looks <= 8
    await replica.channel.close()
    await server.stop(0)
