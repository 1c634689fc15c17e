"""What both ends of an HTTP/2 connection do alike, without a socket: bytes in, events out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from gateway.http2 import frames
from gateway.http2.frames import (
    DEFAULT_WINDOW,
    END_STREAM,
    MAX_WINDOW,
    ErrorCode,
    Kind,
    ProtocolError,
    Setting,
)
from gateway.http2.headers import BlockReader
from gateway.http2.outbox import Outbox, Sending
from gateway.http2.status import StatusError

WINDOW = 2**24
"""Of the whole connection; given back as data arrives, so that no reader waits for another."""


class Widening(Sending, Protocol):
    """A stream, as far as both ends know it."""

    def widen(self, increment: int) -> None:
        """Let more be sent. Raises StatusError beyond what a window may be."""


AnyStream = TypeVar("AnyStream", bound=Widening)
AnyEvent = TypeVar("AnyEvent")


class Endpoint(ABC, Generic[AnyStream, AnyEvent]):
    """The state of a connection.

    Every method leaves what there is to send in `data_to_send`. After a ProtocolError, that is
    the reason for the peer, and the connection is of no more use.
    """

    def __init__(self, outbox: Outbox[AnyStream], greeting: bytes) -> None:
        self.is_ready = False
        self._streams: dict[int, AnyStream] = {}
        self._frames = frames.FrameReader()
        self._outbox = outbox
        self._outbox.add(greeting + frames.window_update(0, WINDOW - DEFAULT_WINDOW))
        self._events: list[AnyEvent] = []
        self._window = WINDOW
        self._stream_send_window = DEFAULT_WINDOW
        self._last_heard_id = 0
        self._block = BlockReader()
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            Kind.DATA: self._on_data,
            Kind.HEADERS: self._on_headers,
            Kind.RST_STREAM: self._on_rst_stream,
            Kind.SETTINGS: self._on_settings,
            Kind.PUSH_PROMISE: self._on_push_promise,
            Kind.PING: self._on_ping,
            Kind.GOAWAY: self._on_goaway,
            Kind.WINDOW_UPDATE: self._on_window_update,
            Kind.CONTINUATION: self._on_continuation,
        }

    def receive(self, data: bytes) -> list[AnyEvent]:
        """Return what came of the data. Raises ProtocolError."""
        try:
            for kind, flags, stream_id, payload in self._frames.feed(data):
                if self._block.is_open or not self.is_ready:
                    self._check_order(kind, stream_id)
                if handler := self._handlers.get(kind):
                    handler(flags, stream_id, payload)
        except ProtocolError as error:
            self._outbox.add(frames.goaway(error.code, str(error), self._last_heard_id))
            raise
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> bytes:
        """Return what is to be sent, once."""
        return self._outbox.take()

    def pause(self) -> None:
        """Hold messages back, while the peer takes no more bytes."""
        self._outbox.is_paused = True

    def resume(self) -> None:
        """Send messages again."""
        self._outbox.is_paused = False

    def close(self) -> None:
        """Say goodbye."""
        self._outbox.add(frames.goaway(ErrorCode.NO_ERROR, "", self._last_heard_id))

    @abstractmethod
    def _is_past(self, stream_id: int) -> bool:
        """Tell whether a stream that is not open once was."""

    @abstractmethod
    def _take_data(
        self, stream_id: int, stream: AnyStream, data: bytes, flow_bytes: int, is_end: bool
    ) -> None:
        """Take what arrived on a stream, `flow_bytes` with its padding."""

    @abstractmethod
    def _take_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        """Take a whole header block. Raises ProtocolError."""

    @abstractmethod
    def _lose(self, stream_id: int, code: int) -> None:
        """Forget a stream that the peer has reset."""

    @abstractmethod
    def _fail(self, stream_id: int, error: StatusError) -> None:
        """End a call that cannot go on."""

    @abstractmethod
    def _leave(self, last_id: int) -> None:
        """Note that the peer is going away, and has heard of no stream after `last_id`."""

    def _check_order(self, kind: int, stream_id: int) -> None:
        if not self.is_ready:
            require(kind == Kind.SETTINGS, "the first frame is not SETTINGS")
        else:
            is_next = kind == Kind.CONTINUATION and stream_id == self._block.stream_id
            require(is_next, "a header block was interrupted")

    def _stream(self, stream_id: int) -> AnyStream | None:
        """Return a stream, None for one that has ended. Raises ProtocolError for any other."""
        stream = self._streams.get(stream_id)
        if stream is None:
            require(self._is_past(stream_id), f"stream {stream_id} was never opened")
        return stream

    def _forget(self, stream_id: int) -> AnyStream | None:
        self._outbox.drop_body(stream_id)
        return self._streams.pop(stream_id, None)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._window -= len(payload)
        if self._window < WINDOW // 2:
            self._outbox.add(frames.window_update(0, WINDOW - self._window))
            self._window = WINDOW
        if stream := self._streams.get(stream_id) or self._stream(stream_id):
            data = frames.unpadded(flags, payload) if flags else payload
            self._take_data(stream_id, stream, data, len(payload), bool(flags & END_STREAM))

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._block.start(stream_id, bool(flags & END_STREAM))
        self._take_fragment(flags, frames.header_fragment(flags, payload))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        require(self._block.is_open, "a continuation of nothing")
        self._take_fragment(flags, payload)

    def _take_fragment(self, flags: int, fragment: bytes) -> None:
        self._block.extend(fragment)
        if flags & frames.END_HEADERS:
            block = self._block.finish()
            self._take_block(self._block.stream_id, block, self._block.ends_stream)

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        require_size(payload, 4)
        if self._stream(stream_id):
            self._lose(stream_id, frames.uint32(payload))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        require(stream_id == 0, "SETTINGS on a stream")
        if flags & frames.ACK:
            require_size(payload, 0)
            return
        for parameter, value in frames.read_settings(payload):
            self._set(parameter, value)
        self.is_ready = True
        self._outbox.add(frames.frame(Kind.SETTINGS, frames.ACK, 0))

    def _set(self, parameter: int, value: int) -> None:
        if parameter == Setting.MAX_FRAME_SIZE:
            require(frames.DEFAULT_FRAME_BYTES <= value < 2**24, f"a frame size of {value}")
            self._outbox.frame_bytes = value
        elif parameter == Setting.INITIAL_WINDOW_SIZE:
            require(value <= MAX_WINDOW, "a window too wide", ErrorCode.FLOW_CONTROL_ERROR)
            change, self._stream_send_window = value - self._stream_send_window, value
            for stream_id in list(self._streams):
                self._widen(stream_id, change)

    def _widen(self, stream_id: int, increment: int) -> None:
        try:
            self._streams[stream_id].widen(increment)
            self._outbox.stir(stream_id)
        except StatusError as error:
            self._fail(stream_id, error)

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a push that was declined")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        require(stream_id == 0, "PING on a stream")
        require_size(payload, 8)
        if not flags & frames.ACK:
            self._outbox.add(frames.frame(Kind.PING, frames.ACK, 0, payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        require(stream_id == 0, "GOAWAY on a stream")
        require(len(payload) >= 8, "a short GOAWAY", ErrorCode.FRAME_SIZE_ERROR)
        self._leave(frames.uint32(payload) & MAX_WINDOW)

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        require_size(payload, 4)
        increment = frames.uint32(payload) & MAX_WINDOW
        require(increment > 0, "a window update of nothing")
        if stream_id == 0:
            self._outbox.widen(increment)
        elif self._stream(stream_id):
            self._widen(stream_id, increment)


def require(condition: bool, complaint: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
    """Raise ProtocolError unless the condition holds."""
    if not condition:
        raise ProtocolError(code, complaint)


def require_size(payload: bytes, size: int) -> None:
    """Raise ProtocolError unless a frame's payload is of that size."""
    require(len(payload) == size, f"a frame of {len(payload)} bytes", ErrorCode.FRAME_SIZE_ERROR)
