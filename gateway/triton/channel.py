"""The gRPC connection to a Triton server, and the few control calls the gateway makes over it."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, Protocol

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from gateway.http2.call import Call
from gateway.http2.pool import Pool
from gateway.http2.status import Status, StatusError
from gateway.origin import origin
from gateway.triton.tls import Tls

OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Triton answers pings more frequent than one in 300 s with GOAWAY, so none are sent.
    ("grpc.http2.max_pings_without_data", 0),
    # A Triton that comes back is found within half a second; to connect to one that is silent is
    # given up after three.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 3000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)


STREAM_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
CONFIG_TIMEOUT_S, READY_TIMEOUT_S = 5.0, 2.0

TransportName = Literal["http2", "grpc"]
"""What carries the streams: our own HTTP/2 client, or grpc.aio. All else goes by grpc.aio."""


Batches = AsyncIterator[Sequence[bytes]]
"""Serialised messages as they come, those together that are there."""


class StreamCall(Protocol):
    """A call with one request, and the messages that come of it.

    Whoever reads messages sets `is_fresh`; it is for others to look at, and to set back.
    """

    is_fresh: bool

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what comes."""

    def __aiter__(self) -> Batches: ...

    async def __anext__(self) -> Sequence[bytes]: ...

    async def write(self, request: Any) -> None: ...

    async def done_writing(self) -> None: ...

    async def peek(self) -> bytes:
        """Return the first message once it is there, without taking it; empty if none comes."""

    def cancel(self) -> None: ...

    def fail(self, status: Status) -> None:
        """End the call with a status, if it has not ended; the server is told at once."""


class _AioCall:
    """A call of grpc.aio, which hands out one message at a time."""

    def __init__(self, call: Any) -> None:
        self.is_fresh = self.is_awaited = False
        self._call = call
        self._failure: Status | None = None
        self._peeked: list[Any] = []

    async def write(self, request: Any) -> None:
        await self._call.write(request)

    async def done_writing(self) -> None:
        await self._call.done_writing()

    def __aiter__(self) -> "_AioCall":
        return self

    async def peek(self) -> bytes:
        self._peeked.append(await self._read())
        first = self._peeked[0]
        return b"" if first is grpc.aio.EOF else bytes(first)

    async def __anext__(self) -> Sequence[bytes]:
        message = self._peeked.pop() if self._peeked else await self._read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        self.is_fresh = True
        return (message,)

    async def _read(self) -> Any:
        self.is_awaited = True
        try:
            return await self._call.read()
        except asyncio.CancelledError:
            if self._failure:
                raise StatusError(self._failure) from None
            raise
        finally:
            self.is_awaited = False

    def cancel(self) -> None:
        self._call.cancel()

    def fail(self, status: Status) -> None:
        if not self._call.done():
            self._failure = status
            self._call.cancel()


class Channel:
    """The way to `address`, a HOST:PORT; its streams may last `timeout_s` seconds.

    `server_name` is what its certificate is to name, where that is not the address's host.
    """

    def __init__(
        self,
        address: str,
        timeout_s: float | None = None,
        transport: TransportName = "http2",
        tls: Tls | None = None,
        server_name: str = "",
    ) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._channel = _channel(address, tls, server_name)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._pool: Pool | None = None
        if transport == "http2":
            self._pool = Pool(address, STREAM_METHOD, tls.context() if tls else None, server_name)
        self._stream = self._channel.stream_stream(
            STREAM_METHOD, request_serializer=pb.ModelInferRequest.SerializeToString
        )

    def timeout_s(self) -> float:
        """Return how many seconds a generation that the current task begins may take."""
        left_s = origin.get().timeout_s(self._timeout_s)
        return math.inf if left_s is None else left_s

    def stream(self, deadline: float = math.inf) -> StreamCall:
        """Start a `ModelStreamInfer` call with its caller's ids.

        The deadline, on `time.monotonic`'s clock, is one for all the calls of a generation.
        """
        came = origin.get()
        timeout_s = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
        if self._pool:
            return Call(self._pool, timeout_s, came.metadata)
        return _AioCall(self._stream(timeout=timeout_s, metadata=came.metadata))

    @property
    def is_connected(self) -> bool:
        """Whether a connection for streams stands, as far as that is known."""
        return bool(self._pool and self._pool.num_connections)

    @property
    def num_connected(self) -> int:
        """How often a connection for streams was made, as far as it is known."""
        return self._pool.num_connected if self._pool else 0

    def retry_now(self) -> None:
        """Let the next stream try to connect, however short ago the last one failed to."""
        if self._pool:
            self._pool.retry_now()

    async def config(self, model: str) -> Any:
        """Return the `ModelConfig` of a model. Raises grpc.RpcError."""
        request = pb.ModelConfigRequest(name=model)
        response = await self._stub.ModelConfig(request, timeout=CONFIG_TIMEOUT_S)
        return response.config

    async def server_version(self) -> str:
        """Return what the server says it is. Raises grpc.RpcError."""
        request = pb.ServerMetadataRequest()
        response = await self._stub.ServerMetadata(request, timeout=CONFIG_TIMEOUT_S)
        return f"{response.name} {response.version}"

    async def is_model_ready(self, model: str) -> bool:
        """Tell whether a model can take requests. Raises grpc.RpcError."""
        request = pb.ModelReadyRequest(name=model)
        response = await self._stub.ModelReady(request, timeout=READY_TIMEOUT_S)
        return bool(response.ready)

    async def close(self) -> None:
        if self._pool:
            await self._pool.close()
        await self._channel.close()


def _channel(address: str, tls: Tls | None, server_name: str) -> Any:
    if tls:
        named = (("grpc.ssl_target_name_override", server_name),) if server_name else ()
        return grpc.aio.secure_channel(address, tls.credentials(), options=(*OPTIONS, *named))
    return grpc.aio.insecure_channel(address, options=OPTIONS)
