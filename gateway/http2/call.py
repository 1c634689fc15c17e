"""One streaming call: a request out, messages in, as `grpc.aio` would have it."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from gateway.http2.headers import literals, timeout
from gateway.http2.messages import PREFIX_BYTES, prefixed
from gateway.http2.pool import Pool
from gateway.http2.status import Code, Status, StatusError
from gateway.http2.transport import Transport

TELL_BYTES = 2**13
"""How much of the 64 KiB is read before the connection is told: to tell it costs 0.4 us."""


class Serializable(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes: ...


class Call:
    """A call with one request. Its messages, serialised, are read by iterating: all that are there.

    Iterating ends by StatusError if the call does not end well.

    The request leaves with `done_writing`, which opens a connection if need be. What is not read
    waits on the server, but for 64 KiB. Reading sets `is_fresh`.
    """

    __slots__ = (
        "_deadline",
        "_inbox",
        "_loop",
        "_metadata",
        "_pool",
        "_request",
        "_status",
        "_stream_id",
        "_timer",
        "_transport",
        "_untold_bytes",
        "_waiter",
        "is_fresh",
    )

    def __init__(
        self,
        pool: Pool,
        timeout_s: float | None = None,
        metadata: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.is_fresh = False
        self._pool = pool
        self._metadata = metadata
        self._loop = asyncio.get_running_loop()
        self._deadline = math.inf if timeout_s is None else self._loop.time() + timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._request = b""
        self._transport: Transport | None = None
        self._stream_id = 0
        self._inbox: list[bytes] = []
        self._untold_bytes = 0
        self._status: Status | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what comes."""
        return bool(self._waiter and not self._waiter.done())

    async def write(self, request: Serializable) -> None:
        """Hold the request until `done_writing`."""
        self._request = prefixed(request.SerializeToString())

    async def done_writing(self) -> None:
        """Send the request. Raises StatusError when there is no connection, or no time left."""
        left_s = self._time_left_s()
        while not (transport := self._pool.available()):
            try:
                await asyncio.wait_for(self._pool.connect(), left_s)
            except asyncio.TimeoutError as error:
                raise StatusError(_OUT_OF_TIME) from error
            left_s = self._time_left_s()
        if self._status:
            raise StatusError(self._status)
        headers = [*self._metadata]
        if left_s is not None:
            headers.append(timeout(left_s))
            self._timer = self._loop.call_later(left_s, self._expire)
        self._transport = transport
        self._stream_id = transport.open(self, self._pool.block + literals(headers), self._request)
        self._request = b""

    async def peek(self) -> bytes:
        """Return the first message once it is there, without taking it; empty if none comes.

        Raises StatusError if the call does not end well before.
        """
        while not self._inbox:
            if self._status is None:
                self._waiter = self._loop.create_future()
                await self._waiter
            elif self._status.code == Code.OK:
                return b""
            else:
                raise StatusError(self._status)
        return self._inbox[0]

    def __aiter__(self) -> "Call":
        return self

    async def __anext__(self) -> Sequence[bytes]:
        while not self._inbox:
            if self._status is None:
                self._waiter = self._loop.create_future()
                await self._waiter
            elif self._status.code == Code.OK:
                raise StopAsyncIteration
            else:
                raise StatusError(self._status)
        self.is_fresh = True
        messages, self._inbox = self._inbox, []
        if self._untold_bytes > TELL_BYTES and self._transport and self._status is None:
            self._transport.read(self._stream_id, self._untold_bytes)
            self._untold_bytes = 0
        return messages

    def receive(self, item: bytes | Status) -> None:
        """Take what the connection has for this call."""
        if isinstance(item, bytes):
            self._inbox.append(item)
            self._untold_bytes += PREFIX_BYTES + len(item)
        else:
            self._end(item)
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def cancel(self) -> None:
        """Give the call up, if it has not ended: the server is told at once."""
        if self._status is None:
            self._end(Status(Code.CANCELLED, "the call was cancelled"))
            if self._transport:
                self._transport.cancel(self._stream_id)

    def fail(self, status: Status) -> None:
        """End the call with a status, if it has not ended; the server is told at once."""
        if self._status is None:
            if self._transport:
                self._transport.cancel(self._stream_id)
            self.receive(status)

    def _end(self, status: Status) -> None:
        is_late = status.code == Code.CANCELLED and self._loop.time() >= self._deadline
        self._status = _OUT_OF_TIME if is_late else status
        if self._timer:
            self._timer.cancel()

    def _expire(self) -> None:
        self.fail(_OUT_OF_TIME)

    def _time_left_s(self) -> float | None:
        """Return what is left of the deadline, None without one. Raises StatusError."""
        left_s = self._deadline - self._loop.time()
        if left_s <= 0:
            raise StatusError(_OUT_OF_TIME)
        return None if left_s == math.inf else left_s


_OUT_OF_TIME = Status(Code.DEADLINE_EXCEEDED, "the deadline has passed")
