"""What both ends of an HTTP/2 connection do alike, without a socket: bytes in, events out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, TypeVar

from gateway.http2 import frames
from gateway.http2.demands import require, require_size
from gateway.http2.frames import (
    DEFAULT_WINDOW,
    END_STREAM,
    MAX_WINDOW,
    ErrorCode,
    Kind,
    ProtocolError,
    Setting,
)
from gateway.http2.headers import MAX_BLOCK_BYTES, BlockReader
from gateway.http2.outbox import Outbox, Sending
from gateway.http2.parameters import read_settings

WINDOW = 2**24
"""Of the whole connection; given back as data arrives, so that no reader waits for another."""


_FLOW = ErrorCode.FLOW_CONTROL_ERROR

AnyStream = TypeVar("AnyStream", bound=Sending)
AnyEvent = TypeVar("AnyEvent")


class Endpoint(ABC, Generic[AnyStream, AnyEvent]):
    """The state of a connection.

    Every method leaves what there is to send in `data_to_send`. After a ProtocolError, that is
    the reason for the peer, and the connection is of no more use.
    """

    # Functions, not methods: a connection that knew its own methods would be a cycle, and what a
    # client has sent would stay until the next garbage collection.
    _handlers: ClassVar[dict[int, Callable[[Any, int, int, bytes], None]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._handlers = {
            Kind.DATA: cls._on_data,
            Kind.HEADERS: cls._on_headers,
            Kind.PRIORITY: cls._on_priority,
            Kind.RST_STREAM: cls._on_rst_stream,
            Kind.SETTINGS: cls._on_settings,
            Kind.PUSH_PROMISE: cls._on_push_promise,
            Kind.PING: cls._on_ping,
            Kind.GOAWAY: cls._on_goaway,
            Kind.WINDOW_UPDATE: cls._on_window_update,
            Kind.CONTINUATION: cls._on_continuation,
        }

    def __init__(
        self,
        outbox: Outbox[AnyStream],
        greeting: bytes,
        max_block_bytes: int = MAX_BLOCK_BYTES,
    ) -> None:
        self.is_ready = False
        self._streams: dict[int, AnyStream] = {}
        self._frames = frames.FrameReader()
        self._outbox = outbox
        self._outbox.add(greeting + frames.window_update(0, WINDOW - DEFAULT_WINDOW))
        self._events: list[AnyEvent] = []
        self._window = WINDOW
        self._stream_send_window = DEFAULT_WINDOW
        self._last_heard_id = 0
        self._block = BlockReader(max_block_bytes)

    def receive(self, data: bytes) -> list[AnyEvent]:
        """Return what came of the data. Raises ProtocolError."""
        try:
            for kind, flags, stream_id, payload in self._incoming(data):
                if self._block.is_open or not self.is_ready:
                    self._check_order(kind, stream_id)
                if handler := self._handlers.get(kind):
                    handler(self, flags, stream_id, payload)
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
    def _fault(self, stream_id: int, code: ErrorCode, complaint: str) -> None:
        """Reset an open stream on which the peer broke the protocol, and on no other."""

    def _take_late(self, kind: Kind, stream_id: int, is_end: bool) -> None:
        """Take a frame, DATA or HEADERS, of a stream that has ended. May raise ProtocolError."""

    @abstractmethod
    def _leave(self, last_id: int) -> None:
        """Note that the peer is going away, and has heard of no stream after `last_id`."""

    def _incoming(self, data: bytes) -> Iterable[frames.Frame]:
        """Return the frames that are to be handled now. Raises ProtocolError."""
        return self._frames.feed(data)

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
        else:
            self._take_late(Kind.DATA, stream_id, bool(flags & END_STREAM))

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._block.start(stream_id, bool(flags & END_STREAM))
        self._block.is_malformed = frames.parent(flags, payload) == stream_id
        self._take_fragment(flags, frames.header_fragment(flags, payload))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        require(self._block.is_open, "a continuation of nothing")
        self._take_fragment(flags, payload)

    def _take_fragment(self, flags: int, fragment: bytes) -> None:
        self._block.extend(fragment)
        if flags & frames.END_HEADERS:
            block = self._block.finish()
            self._take_block(self._block.stream_id, block, self._block.ends_stream)

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        require(stream_id != 0, "PRIORITY of the connection")
        if stream_id not in self._streams:
            require_size(payload, frames.PRIORITY_BYTES)
        elif len(payload) != frames.PRIORITY_BYTES:
            self._fault(stream_id, ErrorCode.FRAME_SIZE_ERROR, "a PRIORITY of a wrong length")
        elif frames.uint32(payload) & MAX_WINDOW == stream_id:
            self._fault(stream_id, ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        require_size(payload, 4)
        if self._stream(stream_id):
            self._lose(stream_id, frames.uint32(payload))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        require(stream_id == 0, "SETTINGS on a stream")
        if flags & frames.ACK:
            require_size(payload, 0)
            return
        for parameter, value in read_settings(payload).items():
            self._set(parameter, value)
        self.is_ready = True
        self._outbox.add(frames.frame(Kind.SETTINGS, frames.ACK, 0))

    def _set(self, parameter: int, value: int) -> None:
        if parameter == Setting.MAX_FRAME_SIZE:
            self._outbox.frame_bytes = value
        elif parameter == Setting.INITIAL_WINDOW_SIZE:
            change, self._stream_send_window = value - self._stream_send_window, value
            if change:
                self._shift_windows(change)

    def _shift_windows(self, change: int) -> None:
        """Change the windows of all open streams. Raises ProtocolError."""
        for stream in self._streams.values():
            stream.send_window += change
            require(stream.send_window <= MAX_WINDOW, "a window too wide", _FLOW)
        self._outbox.stir_all()

    def _widen(self, stream_id: int, stream: AnyStream, increment: int) -> None:
        stream.send_window += increment
        if increment == 0:
            self._fault(stream_id, ErrorCode.PROTOCOL_ERROR, "a window update of nothing")
        elif stream.send_window > MAX_WINDOW:
            self._fault(stream_id, _FLOW, "a window too wide")
        else:
            self._outbox.stir(stream_id)

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
        if stream_id == 0:
            require(increment > 0, "a window update of nothing")
            self._outbox.widen(increment)
        elif stream := self._stream(stream_id):
            self._widen(stream_id, stream, increment)
