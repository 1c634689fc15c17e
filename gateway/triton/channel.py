"""The gRPC connection to a Triton server, and the few control calls the gateway makes over it."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, Protocol

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from gateway.http2.call import Call
from gateway.http2.pool import Pool
from gateway.origin import origin
from gateway.triton.tls import Tls

OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Triton answers pings more frequent than one in 300 s with GOAWAY, so none are sent.
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.use_local_subchannel_pool", 1),
)


STREAM_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"

TransportName = Literal["http2", "grpc"]
"""What carries the streams: our own HTTP/2 client, or grpc.aio. All else goes by grpc.aio."""


Batches = AsyncIterator[Sequence[bytes]]
"""Serialised messages as they come, those together that are there."""


class StreamCall(Protocol):
    """A call with one request, and the messages that come of it."""

    def __aiter__(self) -> Batches: ...

    async def __anext__(self) -> Sequence[bytes]: ...

    async def write(self, request: Any) -> None: ...

    async def done_writing(self) -> None: ...

    def cancel(self) -> None: ...


class _AioCall:
    """A call of grpc.aio, which hands out one message at a time."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def write(self, request: Any) -> None:
        await self._call.write(request)

    async def done_writing(self) -> None:
        await self._call.done_writing()

    def __aiter__(self) -> "_AioCall":
        return self

    async def __anext__(self) -> Sequence[bytes]:
        message = await self._call.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return (message,)

    def cancel(self) -> None:
        self._call.cancel()


class Channel:
    """The way to `address`, a HOST:PORT; its streams may last `timeout_s` seconds."""

    def __init__(
        self,
        address: str,
        timeout_s: float | None = None,
        transport: TransportName = "http2",
        tls: Tls | None = None,
    ) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._channel = _channel(address, tls)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._pool: Pool | None = None
        if transport == "http2":
            self._pool = Pool(address, STREAM_METHOD, tls.context() if tls else None)
        self._stream = self._channel.stream_stream(
            STREAM_METHOD, request_serializer=pb.ModelInferRequest.SerializeToString
        )

    def stream(self) -> StreamCall:
        """Start a `ModelStreamInfer` call within its caller's deadline, with its caller's ids."""
        came = origin.get()
        timeout_s = came.timeout_s(self._timeout_s)
        if self._pool:
            return Call(self._pool, timeout_s, came.metadata)
        return _AioCall(self._stream(timeout=timeout_s, metadata=came.metadata))

    async def config(self, model: str) -> Any:
        """Return the `ModelConfig` of a model. Raises grpc.RpcError."""
        response = await self._stub.ModelConfig(pb.ModelConfigRequest(name=model), timeout=5)
        return response.config

    async def server_version(self) -> str:
        """Return what the server says it is. Raises grpc.RpcError."""
        response = await self._stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=5)
        return f"{response.name} {response.version}"

    async def is_model_ready(self, model: str) -> bool:
        """Tell whether a model can take requests. Raises grpc.RpcError."""
        response = await self._stub.ModelReady(pb.ModelReadyRequest(name=model), timeout=5)
        return bool(response.ready)

    async def close(self) -> None:
        if self._pool:
            await self._pool.close()
        await self._channel.close()


def _channel(address: str, tls: Tls | None) -> Any:
    if tls:
        return grpc.aio.secure_channel(address, tls.credentials(), options=OPTIONS)
    return grpc.aio.insecure_channel(address, options=OPTIONS)
