"""One client's connection on a socket: what arrives goes to the calls, what they say goes out."""

import asyncio
from collections.abc import Iterable
from typing import cast

import structlog

from gateway.http2.frames import ProtocolError
from gateway.http2.server.call import Call
from gateway.http2.server.connection import ServerConnection
from gateway.http2.server.metadata import Metadata
from gateway.http2.server.office import Office
from gateway.http2.server.requests import Request
from gateway.http2.server.stream import ServerStream
from gateway.http2.server.streams import AT_ONCE, TURN, End
from gateway.http2.server.turns import Turns
from gateway.http2.sockets import peer_name, watch
from gateway.http2.status import Code, Status

log = structlog.get_logger(__name__)

KEEPALIVE_S = 60.0
KEEPALIVE_TIMEOUT_S = 20.0
"""Of silence, until a client is pinged, and from then until it is taken for dead."""

CLOSE_TIMEOUT_S = 1.0
LEFT_A_TURN = 16
"""Calls whose client is gone."""

HIGH_WATER_BYTES = 2**18
MAX_BACKLOG_BYTES = 2**22
"""What waits in the socket before calls wait as well, and before the client is given up."""


class Farewell:
    """Calls whose client is gone. They are let go of a few in a turn: a handler takes its time."""

    def __init__(self, calls: Iterable[Call], turns: Turns) -> None:
        self._calls = list(calls)
        self._turns = turns

    def take_turn(self) -> None:
        """Let go of some calls."""
        for call in self._calls[-LEFT_A_TURN:]:
            call.leave()
        del self._calls[-LEFT_A_TURN:]
        if self._calls:
            self._turns.queue(self)


class Transport(asyncio.Protocol):
    """A connection and the calls on it. What calls say in one turn of the loop is written at once.

    `lost` is done when the connection has ended.
    """

    def __init__(self, office: Office) -> None:
        self.peer = "unknown"
        self.limits = office.limits
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._office = office
        self._loop = asyncio.get_running_loop()
        self._connection = ServerConnection(office.limits.max_message_bytes)
        self._send = self._connection.send
        self._calls: dict[ServerStream, Call] = {}
        self._socket: asyncio.Transport | None = None
        self._is_dirty = False
        self._is_paused = False
        self._is_behind = False
        self._unread = b""
        self._num_held = 0
        self.heard_at = self._loop.time()
        self._alarm = self._loop.call_later(KEEPALIVE_TIMEOUT_S, self._expect_settings)

    @property
    def is_idle(self) -> bool:
        """Tell whether there are no calls."""
        return not self._calls

    # What the calls do.

    def begin(self, stream: ServerStream, metadata: Metadata) -> None:
        self._connection.begin(stream, metadata)
        self._mark()

    def send(self, stream: ServerStream, message: bytes) -> bool:
        if not self._is_dirty:
            self._mark()
        return self._send(stream, message)

    def finish(self, stream: ServerStream, status: Status, metadata: Metadata) -> bool:
        if stream not in self._calls:
            return True
        self._connection.finish(stream, status, metadata)
        self._mark()
        if self._connection.is_open(stream):
            return False
        del self._calls[stream]
        return True

    def cut(self, stream: ServerStream, status: Status) -> None:
        if self._calls.pop(stream, None):
            self._connection.cut(stream, status)
            self._mark()

    def expire(self, stream: ServerStream, status: Status) -> None:
        if self._calls.pop(stream, None):
            self._mark()
            try:
                self._connection.expire(stream, status)
            except ProtocolError as error:
                self._fail(error)

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

    def shed(self) -> None:
        """Refuse the call that makes us hold most."""
        stream = self._connection.heaviest()
        if stream and (call := self._calls.get(stream)):
            call.end(_NO_ROOM)
        self._note_held()

    # What the socket does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._socket.set_write_buffer_limits(HIGH_WATER_BYTES)
        watch(transport.get_extra_info("socket"))
        self.peer = peer_name(transport.get_extra_info("peername"))
        if self._office.admit(self):
            self._flush()
        else:
            log.warning("too_many_connections", limit=self.limits.max_connections)
            self._socket.abort()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        is_free = self._office.turns.is_free(len(data)) and not self._connection.is_trying
        if is_free and not self._is_behind:
            self._connection.max_work = AT_ONCE
            self._receive(data)
        else:
            self._unread += data
            self._wait_for_turn()

    def take_turn(self) -> None:
        self._is_behind = False
        unread, self._unread = self._unread, b""
        self._connection.max_work = TURN
        self._receive(unread)
        if self._socket and not (self._is_behind or self._socket.is_closing()):
            self._socket.resume_reading()

    def _receive(self, data: bytes) -> None:
        if self._socket is None or self._socket.is_closing():
            return
        try:
            events = self._connection.receive(data)
            for stream, item in events:
                self._take(stream, item)
        except ProtocolError as error:
            self._fail(error)
            return
        self._mark()
        self._note_held()
        if self._connection.is_behind:
            self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        """Handle the rest later: the loop would read a socket on and on while something comes."""
        if self._socket and not (self._is_behind or self._socket.is_closing()):
            self._is_behind = True
            self._socket.pause_reading()
            self._office.turns.queue(self, is_trying=self._connection.is_trying)

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
        self._office.dismiss(self)
        self._office.store.note(self, 0)
        calls, self._calls = self._calls, {}
        Farewell(calls.values(), self._office.turns).take_turn()
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
                del self._calls[stream]
                call.leave()

    def _open(self, stream: ServerStream, request: Request) -> None:
        method = self._office.find(request)
        if method is None:
            status = Status(Code.UNIMPLEMENTED, f"there is no method {request.path[:200]}")
            self._connection.refuse(stream, status)
            return
        call = self._calls[stream] = Call(self, stream, request, method)
        self._office.enlist(call.start())

    def _fail(self, error: ProtocolError) -> None:
        log.warning("client_broke_http2", error=str(error), code=error.code.name, peer=self.peer)
        self._note_held()
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
                if not self._connection.is_open(stream):
                    del self._calls[stream]
        self._note_held()
        if self._connection.is_over:
            self._socket.close()

    def _note_held(self) -> None:
        if self._num_held != self._connection.num_held:
            self._num_held = self._connection.num_held
            self._office.store.note(self, self._num_held)

    def _expect_settings(self) -> None:
        if self._connection.is_ready:
            self._alarm = self._loop.call_later(KEEPALIVE_S, self._check_silence)
        else:
            self.abort()

    def _check_silence(self) -> None:
        silence_s = self._loop.time() - self.heard_at
        if silence_s < KEEPALIVE_S:
            self._alarm = self._loop.call_later(KEEPALIVE_S - silence_s, self._check_silence)
            return
        self._connection.ping()
        self._mark()
        self._alarm = self._loop.call_later(KEEPALIVE_TIMEOUT_S, self._check_answer, self.heard_at)

    def _check_answer(self, heard_at: float) -> None:
        if self.heard_at == heard_at:
            log.warning("client_is_gone", peer=self.peer)
            self.abort()
        else:
            self._check_silence()


_NO_ROOM = Status(Code.RESOURCE_EXHAUSTED, "the server holds too much of unread requests")
_SHUTTING_DOWN = Status(Code.UNAVAILABLE, "the server is shutting down")
