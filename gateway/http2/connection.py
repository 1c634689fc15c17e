"""One HTTP/2 connection of a gRPC client, without its socket: bytes in, events and bytes out."""

from collections.abc import Callable, Sequence

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
from gateway.http2.headers import MAX_LIST_BYTES, BlockReader, decode
from gateway.http2.outbox import Outbox
from gateway.http2.status import (
    Code,
    Status,
    StatusError,
    status_of_reset,
    status_of_trailers,
)
from gateway.http2.stream import Stream

Event = tuple[int, bytes | Status]
"""A stream's id, and a message that arrived on it or the status that it ended with."""

WINDOW = 2**24
"""Of the whole connection; given back as data arrives, so that no reader waits for another."""

SETTINGS = (
    (Setting.HEADER_TABLE_SIZE, 0),
    (Setting.ENABLE_PUSH, 0),
    (Setting.MAX_HEADER_LIST_SIZE, MAX_LIST_BYTES),
)


class Connection:
    """The state of a connection.

    Every method leaves what there is to send in `data_to_send`. After a ProtocolError, that is
    the reason for the peer, and the connection is of no more use.
    """

    def __init__(self) -> None:
        self.is_ready = False
        self._streams: dict[int, Stream] = {}
        self._frames = frames.FrameReader()
        self._outbox = Outbox()
        self._outbox.add(frames.PREFACE + frames.settings(SETTINGS))
        self._outbox.add(frames.window_update(0, WINDOW - DEFAULT_WINDOW))
        self._events: list[Event] = []
        self._window = WINDOW
        self._stream_send_window = DEFAULT_WINDOW
        self._max_streams = MAX_WINDOW
        self._next_id = 1
        self._is_leaving = False
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

    @property
    def can_open(self) -> bool:
        """Tell whether there is room for one more stream."""
        return (
            self.is_ready
            and not self._is_leaving
            and len(self._streams) < self._max_streams
            and self._next_id <= MAX_WINDOW
        )

    @property
    def is_over(self) -> bool:
        """Tell whether the peer asked to end the connection and no call needs it any more."""
        return self._is_leaving and not self._streams

    def open(self, block: bytes, body: bytes) -> int:
        """Start a call with its header block and whole request; return its stream's id."""
        stream_id = self._next_id
        self._next_id += 2
        self._streams[stream_id] = Stream(body, self._stream_send_window)
        self._outbox.add(frames.headers(stream_id, block))
        self._outbox.add_body(stream_id, self._streams[stream_id])
        return stream_id

    def reset(self, stream_id: int, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Give a call up, if it has not ended; nothing more is told of it."""
        if self._forget(stream_id):
            self._outbox.add(frames.rst_stream(stream_id, code))

    def read(self, stream_id: int, messages: Sequence[bytes]) -> bool:
        """Note that messages were read, so that others may follow; tell if that is to be sent."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        stream.read(messages)
        return self._credit(stream_id, stream)

    def receive(self, data: bytes) -> list[Event]:
        """Return what came of the data. Raises ProtocolError."""
        try:
            for kind, flags, stream_id, payload in self._frames.feed(data):
                if self._block.is_open or not self.is_ready:
                    self._check_order(kind, stream_id)
                if handler := self._handlers.get(kind):
                    handler(flags, stream_id, payload)
        except ProtocolError as error:
            self._outbox.add(frames.goaway(error.code, str(error)))
            raise
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> bytes:
        """Return what is to be sent, once."""
        return self._outbox.take()

    def pause(self) -> None:
        """Hold requests back, while the peer takes no more bytes."""
        self._outbox.is_paused = True

    def resume(self) -> None:
        """Send requests again."""
        self._outbox.is_paused = False

    def close(self) -> None:
        """Say goodbye."""
        self._outbox.add(frames.goaway(ErrorCode.NO_ERROR, ""))

    def _credit(self, stream_id: int, stream: Stream) -> bool:
        if credit := stream.credit():
            self._outbox.add(frames.window_update(stream_id, credit))
        return credit > 0

    def _check_order(self, kind: int, stream_id: int) -> None:
        if not self.is_ready:
            _require(kind == Kind.SETTINGS, "the first frame is not SETTINGS")
        else:
            is_next = kind == Kind.CONTINUATION and stream_id == self._block.stream_id
            _require(is_next, "a header block was interrupted")

    def _stream(self, stream_id: int) -> Stream | None:
        """Return a stream, None for one that has ended. Raises ProtocolError for any other."""
        stream = self._streams.get(stream_id)
        if stream is None:
            is_past = stream_id % 2 == 1 and stream_id < self._next_id
            _require(is_past, f"stream {stream_id} was never opened")
        return stream

    def _forget(self, stream_id: int) -> Stream | None:
        self._outbox.drop_body(stream_id)
        return self._streams.pop(stream_id, None)

    def _end(self, stream_id: int, status: Status) -> None:
        if stream_id in self._outbox:
            self._outbox.add(frames.rst_stream(stream_id, ErrorCode.CANCEL))
        self._forget(stream_id)
        self._events.append((stream_id, status))

    def _fail(self, stream_id: int, error: StatusError) -> None:
        self.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
        self._events.append((stream_id, Status(error.code, error.details)))

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._window -= len(payload)
        if self._window < WINDOW // 2:
            self._outbox.add(frames.window_update(0, WINDOW - self._window))
            self._window = WINDOW
        stream = self._stream(stream_id)
        if stream is None:
            return
        data = frames.unpadded(flags, payload)
        try:
            for message in stream.take_data(len(payload), data):
                self._events.append((stream_id, message))
        except StatusError as error:
            self._fail(stream_id, error)
            return
        if flags & END_STREAM:
            self._end(stream_id, status_of_trailers({}))
        else:
            self._credit(stream_id, stream)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._stream(stream_id)
        self._block.start(stream_id, bool(flags & END_STREAM))
        self._take_fragment(flags, frames.header_fragment(flags, payload))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        _require(self._block.is_open, "a continuation of nothing")
        self._take_fragment(flags, payload)

    def _take_fragment(self, flags: int, fragment: bytes) -> None:
        self._block.extend(fragment)
        if flags & frames.END_HEADERS:
            headers = decode(self._block.finish())
            self._take_headers(self._block.stream_id, headers, self._block.ends_stream)

    def _take_headers(self, stream_id: int, headers: dict[str, str], is_end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            trailers = stream.take_headers(headers, is_end)
        except StatusError as error:
            self._fail(stream_id, error)
            return
        if trailers is not None:
            self._end(stream_id, status_of_trailers(trailers))

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        _require_size(payload, 4)
        if self._stream(stream_id):
            self._forget(stream_id)
            self._events.append((stream_id, status_of_reset(frames.uint32(payload))))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _require(stream_id == 0, "SETTINGS on a stream")
        if flags & frames.ACK:
            _require_size(payload, 0)
            return
        for parameter, value in frames.read_settings(payload):
            self._set(parameter, value)
        self.is_ready = True
        self._outbox.add(frames.frame(Kind.SETTINGS, frames.ACK, 0))

    def _set(self, parameter: int, value: int) -> None:
        if parameter == Setting.MAX_CONCURRENT_STREAMS:
            self._max_streams = value
        elif parameter == Setting.MAX_FRAME_SIZE:
            _require(frames.DEFAULT_FRAME_BYTES <= value < 2**24, f"a frame size of {value}")
            self._outbox.frame_bytes = value
        elif parameter == Setting.INITIAL_WINDOW_SIZE:
            _require(value <= MAX_WINDOW, "a window too wide", ErrorCode.FLOW_CONTROL_ERROR)
            change, self._stream_send_window = value - self._stream_send_window, value
            for stream_id in list(self._streams):
                self._widen(stream_id, change)

    def _widen(self, stream_id: int, increment: int) -> None:
        try:
            self._streams[stream_id].widen(increment)
        except StatusError as error:
            self._fail(stream_id, error)

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a push that was declined")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _require(stream_id == 0, "PING on a stream")
        _require_size(payload, 8)
        if not flags & frames.ACK:
            self._outbox.add(frames.frame(Kind.PING, frames.ACK, 0, payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        _require(stream_id == 0, "GOAWAY on a stream")
        _require(len(payload) >= 8, "a short GOAWAY", ErrorCode.FRAME_SIZE_ERROR)
        self._is_leaving = True
        last_id = frames.uint32(payload) & MAX_WINDOW
        status = Status(Code.UNAVAILABLE, "the server is going away")
        for unheard_id in [id for id in self._streams if id > last_id]:
            self._forget(unheard_id)
            self._events.append((unheard_id, status))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        _require_size(payload, 4)
        increment = frames.uint32(payload) & MAX_WINDOW
        _require(increment > 0, "a window update of nothing")
        if stream_id == 0:
            self._outbox.widen(increment)
        elif self._stream(stream_id):
            self._widen(stream_id, increment)


def _require(condition: bool, complaint: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
    if not condition:
        raise ProtocolError(code, complaint)


def _require_size(payload: bytes, size: int) -> None:
    _require(len(payload) == size, f"a frame of {len(payload)} bytes", ErrorCode.FRAME_SIZE_ERROR)
