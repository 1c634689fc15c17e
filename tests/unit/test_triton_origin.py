"""What a call to Triton carries of the request it is made for."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2 as pb

from gateway.errors import EngineTimeout
from gateway.origin import Origin, origin
from gateway.triton.call import EngineRequest, responses
from gateway.triton.channel import Channel
from gateway.triton.replica import Replica
from tests.engines import asked


class Noting(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A Triton that notes what it learns of a call and answers once, or never."""

    def __init__(self) -> None:
        self.left: float | None = None
        self.metadata: dict[str, Any] = {}
        self.hangs = False

    def service(self, _: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(
            self._answer, response_serializer=pb.ModelStreamInferResponse.SerializeToString
        )

    async def _answer(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        self.left = context.time_remaining()
        self.metadata = dict(context.invocation_metadata())
        async for _ in requests:
            if self.hangs:
                await asyncio.Event().wait()
            message = pb.ModelStreamInferResponse()
            message.infer_response.parameters["triton_final_response"].bool_param = True
            yield message


@pytest.fixture
async def triton() -> AsyncIterator[tuple[Noting, str]]:
    noting, server = Noting(), grpc.aio.server()
    server.add_generic_rpc_handlers([noting])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield noting, f"127.0.0.1:{port}"
    await server.stop(0)


async def ask(address: str, timeout_s: float | None) -> int:
    channel = Channel(address, timeout_s)
    try:
        request = pb.ModelInferRequest(model_name="m", id="1")
        call = asked(Replica(channel, "m"), request, EngineRequest("1"))
        return len([response async for response in responses(call, EngineRequest("1"))])
    finally:
        await channel.close()


@pytest.mark.parametrize(
    ("deadline_in_s", "limit_s", "least", "most"),
    [(10, 600, 8, 11), (600, 10, 8, 11), (float("inf"), 10, 8, 11), (10, None, 8, 11)],
    ids=["the caller's", "the gateway's", "only the gateway's", "only the caller's"],
)
async def test_the_nearer_deadline_is_passed_on(
    triton: tuple[Noting, str],
    deadline_in_s: float,
    limit_s: float | None,
    least: float,
    most: float,
) -> None:
    noting, address = triton
    origin.set(Origin(time.monotonic() + deadline_in_s))

    assert await ask(address, limit_s) == 1

    assert noting.left is not None and least < noting.left < most


async def test_without_a_deadline_none_is_passed_on(triton: tuple[Noting, str]) -> None:
    noting, address = triton

    assert await ask(address, None) == 1

    assert noting.left is None


async def test_ids_and_trace_context_are_passed_on(triton: tuple[Noting, str]) -> None:
    noting, address = triton
    carried = (("x-request-id", "r1"), ("traceparent", "00-0af7-b7ad-01"))
    origin.set(Origin(metadata=carried))

    await ask(address, None)

    assert carried == tuple((name, noting.metadata[name]) for name, _ in carried)


async def test_a_deadline_that_passes_is_a_timeout(triton: tuple[Noting, str]) -> None:
    noting, address = triton
    noting.hangs = True
    origin.set(Origin(time.monotonic() + 0.2))

    with pytest.raises(EngineTimeout):
        await ask(address, 600)
