"""A client's streams: how they are kept, counted and ended, and what of it has its limit."""

import time
from abc import abstractmethod
from collections.abc import Callable, Generator
from enum import Enum, auto

from gateway.http2 import frames
from gateway.http2.demands import require
from gateway.http2.endpoint import Endpoint
from gateway.http2.frames import MAX_WINDOW, PREFACE, ErrorCode, Kind, ProtocolError, Setting
from gateway.http2.server.abandoned import Abandoned
from gateway.http2.server.fields import MAX_BLOCK_BYTES, MAX_FIELDS_BYTES, FieldReader
from gateway.http2.server.outbox import Responses
from gateway.http2.server.patience import Patience
from gateway.http2.server.requests import Request
from gateway.http2.server.stream import WINDOW, ServerStream
from gateway.http2.status import Status, StatusError

_HEADERS = int(Kind.HEADERS)


class End(Enum):
    """How a client's side of a call ends."""

    HALF_CLOSED = auto()
    GONE = auto()


Event = tuple[ServerStream, Request | bytes | End]
"""A stream, and what came on it: first the request, then messages, then an end."""

MAX_STREAMS = 1024
MAX_HELD_MESSAGES = 4
"""Of the largest size, on one connection: unfinished, or waiting for a handler to read them."""


SETTINGS = (
    (Setting.MAX_CONCURRENT_STREAMS, MAX_STREAMS),
    (Setting.INITIAL_WINDOW_SIZE, WINDOW),
    (Setting.MAX_HEADER_LIST_SIZE, MAX_FIELDS_BYTES),
)

AT_ONCE, TURN = 120, 40
"""Work, of one to three microseconds each, after which others have their turn: of what comes from
a client that did nothing wrong, and of what waits."""

_PAYLOAD_BYTES = 2048
"""Are as much work as a frame."""

_STREAMS_A_NUISANCE = 32
"""Whose windows change together."""

DRAIN_PING = b"draining"


class Streams(Endpoint[ServerStream, Event]):
    """The streams of one connection.

    While it `is_behind`, more of what was received waits to be handled: `receive` it in a later
    turn, with nothing new. A turn is as long as `max_work`.
    """

    def __init__(self, max_message_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._responses = Responses()
        super().__init__(self._responses, frames.settings(SETTINGS), MAX_BLOCK_BYTES)
        self.is_behind = False
        self.max_work = AT_ONCE
        self.num_held = 0
        self._max_message_bytes = max_message_bytes
        self._max_held_bytes = MAX_HELD_MESSAGES * max_message_bytes + WINDOW
        self._clock = clock
        self._preface = PREFACE
        self._fields = FieldReader()
        self._patience = Patience(clock, self._responses)
        self._abandoned = Abandoned()
        self._last_id = MAX_WINDOW
        self._num_opened = 0
        self._work = 0

    @property
    def is_trying(self) -> bool:
        """Tell whether the client has lately said much that carries nothing."""
        return self._patience.is_worn

    def receive(self, data: bytes) -> list[Event]:
        """Return what came of the data. Raises ProtocolError."""
        return super().receive(self._after_preface(data) if self._preface else data)

    @abstractmethod
    def cut(self, stream: ServerStream, status: Status) -> None:
        """End a call at once; what still waits of it is not sent."""

    def _after_preface(self, data: bytes) -> bytes:
        size = min(len(data), len(self._preface))
        require(data[:size] == self._preface[:size], "this is not HTTP/2")
        self._preface = self._preface[size:]
        return data[size:]

    def _incoming(self, data: bytes) -> Generator[frames.Frame, None, None]:
        """Yield frames until it is others' turn."""
        self._work, self.is_behind = 0, False
        arrived = self._frames.feed(data)
        for frame in arrived:
            self._work += 1 + len(frame[3]) // _PAYLOAD_BYTES
            if frame[0] > _HEADERS:
                self._patience.frame()
            yield frame
            if self._work >= self.max_work:
                self.is_behind = True
                arrived.close()

    def _is_past(self, stream_id: int) -> bool:
        return stream_id % 2 == 1 and stream_id <= self._last_heard_id

    def _forget(self, stream_id: int) -> ServerStream | None:
        if stream := super()._forget(stream_id):
            self.num_held -= stream.num_held
        return stream

    def _reset(self, stream_id: int, code: ErrorCode) -> None:
        self._abandoned.add(stream_id)
        self._outbox.add(frames.rst_stream(stream_id, code))

    def _credit(self, stream: ServerStream) -> None:
        if credit := stream.credit():
            self._outbox.add(frames.window_update(stream.id, credit))

    def _break_off(self, stream: ServerStream, code: ErrorCode) -> None:
        """Reset the stream of a client that broke HTTP."""
        self._patience.nuisance()
        self._forget(stream.id)
        self._reset(stream.id, code)
        self._events.append((stream, End.GONE))

    def _fault(self, stream_id: int, code: ErrorCode, complaint: str) -> None:
        self._break_off(self._streams[stream_id], code)

    def _lose(self, stream_id: int, code: int) -> None:
        if stream := self._forget(stream_id):
            self._charge(stream)
            self._events.append((stream, End.GONE))

    def _charge(self, stream: ServerStream) -> None:
        """Count a call that ended before its time. Raises ProtocolError for too many."""
        if not stream.has_begun:
            self._patience.early_end(stream.opened_at)

    def _fail(self, stream_id: int, error: StatusError) -> None:
        """End a call that cannot go on."""
        self._patience.nuisance()
        stream = self._streams[stream_id]
        self.cut(stream, Status(error.code, error.details))
        self._events.append((stream, End.GONE))

    def _take_late(self, kind: Kind, stream_id: int, is_end: bool) -> None:
        if stream_id not in self._abandoned:
            # Of streams that were left out nobody can tell that they ever were.
            were_all = self._last_heard_id == 2 * self._num_opened - 1
            code = ErrorCode.STREAM_CLOSED if were_all else ErrorCode.PROTOCOL_ERROR
            raise ProtocolError(code, "a frame of a stream that is closed")
        if kind == Kind.HEADERS:
            self._patience.nuisance()
        self._patience.frame()
        if is_end:
            self._abandoned.end(stream_id)

    def _leave(self, last_id: int) -> None:
        """Nothing changes: the client's calls go on, and there are none of ours."""

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._patience.nuisance()
        super()._on_settings(flags, stream_id, payload)

    def _shift_windows(self, change: int) -> None:
        self._patience.nuisance(len(self._streams) / _STREAMS_A_NUISANCE)
        super()._shift_windows(change)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        super()._on_ping(flags, stream_id, payload)
        if not flags & frames.ACK:
            self._patience.ping()
        elif payload == DRAIN_PING:
            self._last_id = self._last_heard_id
            self.close()
