"""One client's connection on a socket: what arrives goes to the calls, what they say goes out."""

import asyncio
from typing import Any, Protocol, cast

import structlog

from gateway.http2.frames import ProtocolError
from gateway.http2.server.call import Call
from gateway.http2.server.connection import End, ServerConnection
from gateway.http2.server.handlers import Method
from gateway.http2.server.metadata import Metadata
from gateway.http2.server.requests import Request
from gateway.http2.server.stream import ServerStream
from gateway.http2.server.tally import Tally
from gateway.http2.sockets import watch
from gateway.http2.status import Code, Status

log = structlog.get_logger(__name__)

KEEPALIVE_S = 60.0
KEEPALIVE_TIMEOUT_S = 20.0
"""Of silence, until a client is pinged, and from then until it is taken for dead."""

CLOSE_TIMEOUT_S = 1.0
HIGH_WATER_BYTES = 2**18
MAX_BACKLOG_BYTES = 2**22
"""What waits in the socket before calls wait as well, and before the client is given up."""


class Office(Protocol):
    """Where a connection belongs."""

    max_message_bytes: int
    transports: "set[Transport]"
    tally: Tally

    def find(self, request: Request) -> Method | None:
        """Return the method that a request is for."""

    def enlist(self, task: asyncio.Task[None]) -> None:
        """Know of a handler that runs."""


class Transport(asyncio.Protocol):
    """A connection and the calls on it. What calls say in one turn of the loop is written at once.

    `lost` is done when the connection has ended.
    """

    def __init__(self, office: Office, number: int) -> None:
        self.number = number
        self.peer = "unknown"
        self.tally = Tally()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._office = office
        self._loop = asyncio.get_running_loop()
        self._connection = ServerConnection(office.max_message_bytes)
        self._send = self._connection.send
        self._calls: dict[ServerStream, Call] = {}
        self._socket: asyncio.Transport | None = None
        self._is_dirty = False
        self._is_paused = False
        self._heard_at = self._loop.time()
        self._alarm = self._loop.call_later(KEEPALIVE_TIMEOUT_S, self._expect_settings)

    @property
    def messages_sent(self) -> int:
        return self._connection.messages_sent

    @property
    def messages_received(self) -> int:
        return self._connection.messages_received

    # What the calls do.

    def begin(self, stream: ServerStream, metadata: Metadata) -> None:
        self._connection.begin(stream, metadata)
        self._mark()

    def send(self, stream: ServerStream, message: bytes) -> bool:
        if not self._is_dirty:
            self._mark()
        return self._send(stream, message)

    def finish(self, stream: ServerStream, status: Status, metadata: Metadata) -> None:
        if self._drop(stream, is_ok=status.code == Code.OK):
            self._connection.finish(stream, status, metadata)
            self._mark()

    def cut(self, stream: ServerStream, status: Status) -> None:
        if self._drop(stream, is_ok=False):
            self._connection.cut(stream, status)
            self._mark()

    def read(self, stream: ServerStream, num_bytes: int) -> None:
        self._connection.read(stream, num_bytes)
        self._mark()

    # What the server does.

    def drain(self) -> None:
        """Ask the client to leave; the connection ends with its last call."""
        if self._connection.is_ready:
            self._connection.drain()
            self._mark()
        elif self._socket:
            self._socket.abort()

    def end(self) -> None:
        """Cut all calls off and say goodbye."""
        for call in tuple(self._calls.values()):
            call.end(_SHUTTING_DOWN)
        self._connection.close()
        self._flush()
        if self._socket:
            self._socket.close()

    def abort(self) -> None:
        """Close without waiting for a client that does not read."""
        if self._socket:
            self._socket.abort()

    # What the socket does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._socket.set_write_buffer_limits(HIGH_WATER_BYTES)
        watch(transport.get_extra_info("socket"))
        self.peer = peer_name(transport.get_extra_info("peername"))
        self._office.transports.add(self)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            events = self._connection.receive(data)
        except ProtocolError as error:
            self._fail(error)
            return
        for stream, item in events:
            self._take(stream, item)
        self._mark()

    def pause_writing(self) -> None:
        self._is_paused = True
        self._connection.pause()

    def resume_writing(self) -> None:
        self._is_paused = False
        self._connection.resume()
        self._mark()

    def connection_lost(self, exc: Exception | None) -> None:
        self._socket = None
        self._alarm.cancel()
        self._office.transports.discard(self)
        for stream, call in tuple(self._calls.items()):
            self._drop(stream, is_ok=False)
            call.leave()
        self.lost.set_result(None)

    def _take(self, stream: ServerStream, item: Request | bytes | End) -> None:
        if isinstance(item, Request):
            self._open(stream, item)
        elif call := self._calls.get(stream):
            if isinstance(item, bytes):
                call.receive(item)
            elif item is End.HALF_CLOSED:
                call.half_close()
            else:
                self._drop(stream, is_ok=False)
                call.leave()

    def _open(self, stream: ServerStream, request: Request) -> None:
        method = self._office.find(request)
        if method is None:
            status = Status(Code.UNIMPLEMENTED, f"there is no method {request.path[:200]}")
            self._connection.finish(stream, status, ())
            return
        call = self._calls[stream] = Call(self, stream, request, method)
        self._office.enlist(call.task)
        for tally in (self.tally, self._office.tally):
            tally.start()

    def _drop(self, stream: ServerStream, is_ok: bool) -> bool:
        """Forget a call, if it is not forgotten yet."""
        if not self._calls.pop(stream, None):
            return False
        for tally in (self.tally, self._office.tally):
            tally.end(is_ok)
        return True

    def _fail(self, error: ProtocolError) -> None:
        log.warning("client_broke_http2", error=str(error), code=error.code.name, peer=self.peer)
        self._flush()
        if self._socket:
            self._socket.close()
            self._alarm.cancel()
            self._alarm = self._loop.call_later(CLOSE_TIMEOUT_S, self.abort)

    def _mark(self) -> None:
        """See to it that what there is to send is written before the loop waits."""
        if not self._is_dirty:
            self._is_dirty = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_dirty = False
        if self._socket is None or self._socket.is_closing():
            return
        if data := self._connection.data_to_send():
            self._socket.write(data)
            if self._is_paused and self._socket.get_write_buffer_size() > MAX_BACKLOG_BYTES:
                log.warning("client_reads_nothing", peer=self.peer)
                self._socket.abort()
        for stream in self._connection.take_drained():
            if call := self._calls.get(stream):
                call.wake()
        if self._connection.is_over:
            self._socket.close()

    def _expect_settings(self) -> None:
        if self._connection.is_ready:
            self._alarm = self._loop.call_later(KEEPALIVE_S, self._check_silence)
        else:
            self.abort()

    def _check_silence(self) -> None:
        silence_s = self._loop.time() - self._heard_at
        if silence_s < KEEPALIVE_S:
            self._alarm = self._loop.call_later(KEEPALIVE_S - silence_s, self._check_silence)
            return
        self._connection.ping()
        self._mark()
        self._alarm = self._loop.call_later(KEEPALIVE_TIMEOUT_S, self._check_answer, self._heard_at)

    def _check_answer(self, heard_at: float) -> None:
        if self._heard_at == heard_at:
            log.warning("client_is_gone", peer=self.peer)
            self.abort()
        else:
            self._check_silence()


def peer_name(address: Any) -> str:
    """Return a socket's address as gRPC writes it."""
    if not isinstance(address, tuple):
        return f"unix:{address or ''}"
    host, port = address[:2]
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


_SHUTTING_DOWN = Status(Code.UNAVAILABLE, "the server is shutting down")
