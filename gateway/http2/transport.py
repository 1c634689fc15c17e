"""One HTTP/2 connection on a socket: what arrives goes to the calls, what they say goes out."""

import asyncio
from typing import Protocol, cast

import structlog

from gateway.http2.connection import Connection
from gateway.http2.frames import ProtocolError
from gateway.http2.sockets import watch
from gateway.http2.status import Code, Status, StatusError

log = structlog.get_logger(__name__)

MAX_BACKLOG_BYTES = 2**22
"""What a peer that reads nothing may make us hold, beyond the requests themselves."""


class Receiver(Protocol):
    """A call, as its connection knows it."""

    def receive(self, item: bytes | Status) -> None:
        """Take a message, or the status that ends the call."""


class Transport(asyncio.Protocol):
    """A connection and the calls on it, in `siblings` for as long as it is connected.

    `ready` is done when the server has told its settings, `lost` when the connection has ended. It
    `has_served` when something came of a call.
    """

    def __init__(self, siblings: "list[Transport]") -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._siblings = siblings
        self._connection = Connection()
        self._calls: dict[int, Receiver] = {}
        self._socket: asyncio.Transport | None = None
        self._is_paused = False
        self.has_served = False

    @property
    def can_open(self) -> bool:
        """Tell whether one more call may start."""
        return self._socket is not None and self._connection.can_open

    def open(self, call: Receiver, block: bytes, body: bytes) -> int:
        """Start a call; return the id of its stream."""
        stream_id = self._connection.open(block, body)
        self._calls[stream_id] = call
        self._flush()
        return stream_id

    def cancel(self, stream_id: int) -> None:
        """Give a call up, if it has not ended; it receives nothing more."""
        if self._calls.pop(stream_id, None):
            self._connection.reset(stream_id)
            self._flush()
            self._close_if_over()

    def read(self, stream_id: int, num_bytes: int) -> None:
        """Note that a call has read messages of so many bytes."""
        if self._connection.read(stream_id, num_bytes):
            self._flush()

    def close(self) -> None:
        """Say goodbye and close; calls still open end as unavailable."""
        self._connection.close()
        self._flush()
        if self._socket:
            self._socket.close()

    def abort(self) -> None:
        """Close without waiting for a peer that does not read."""
        if self._socket:
            self._socket.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._siblings.append(self)
        watch(transport.get_extra_info("socket"))
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._connection.receive(data)
        except ProtocolError as error:
            self._fail(error)
            return
        if events:
            self.has_served = True
        for stream_id, item in events:
            if isinstance(item, bytes):
                self._calls[stream_id].receive(item)
            else:
                self._calls.pop(stream_id).receive(item)
        self._flush()
        if self._connection.is_ready and not self.ready.done():
            self.ready.set_result(None)
        self._close_if_over()

    def pause_writing(self) -> None:
        self._is_paused = True
        self._connection.pause()

    def resume_writing(self) -> None:
        self._is_paused = False
        self._connection.resume()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._socket = None
        status = Status(Code.UNAVAILABLE, f"the connection was lost: {exc or 'closed'}")
        self._siblings.remove(self)
        self.lost.set_result(None)
        if not self.ready.done():
            self.ready.set_exception(StatusError(status))
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.receive(status)

    def _fail(self, error: ProtocolError) -> None:
        log.error("peer_broke_http2", error=str(error), code=error.code.name)
        self._flush()
        self.abort()

    def _close_if_over(self) -> None:
        if self._connection.is_over and self._socket:
            self._socket.close()

    def _flush(self) -> None:
        if self._socket is None:
            return
        if data := self._connection.data_to_send():
            self._socket.write(data)
            if self._is_paused and self._is_swamped(self._socket):
                log.error("peer_reads_nothing", backlog_bytes=MAX_BACKLOG_BYTES)
                self._socket.abort()

    def _is_swamped(self, transport: asyncio.Transport) -> bool:
        return transport.get_write_buffer_size() > MAX_BACKLOG_BYTES
