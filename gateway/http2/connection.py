"""The client's end of a connection, without its socket: bytes in, events and bytes out."""

from gateway.http2 import frames
from gateway.http2.endpoint import Endpoint
from gateway.http2.frames import MAX_WINDOW, ErrorCode, Setting
from gateway.http2.headers import MAX_LIST_BYTES, decode
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

SETTINGS = (
    (Setting.HEADER_TABLE_SIZE, 0),
    (Setting.ENABLE_PUSH, 0),
    (Setting.MAX_HEADER_LIST_SIZE, MAX_LIST_BYTES),
)


class Connection(Endpoint[Stream, Event]):
    """A connection to a server; a call is a stream."""

    def __init__(self) -> None:
        super().__init__(Outbox(), frames.PREFACE + frames.settings(SETTINGS))
        self._max_streams = MAX_WINDOW
        self._next_id = 1
        self._is_leaving = False

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

    def read(self, stream_id: int, num_bytes: int) -> bool:
        """Note that so much was read, so that more may follow; tell if that is to be sent."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        stream.read(num_bytes)
        return self._credit(stream_id, stream) if stream.is_narrow else False

    def _credit(self, stream_id: int, stream: Stream) -> bool:
        if credit := stream.credit():
            self._outbox.add(frames.window_update(stream_id, credit))
        return credit > 0

    def _is_past(self, stream_id: int) -> bool:
        return stream_id % 2 == 1 and stream_id < self._next_id

    def _end(self, stream_id: int, status: Status) -> None:
        if stream_id in self._outbox:
            self._outbox.add(frames.rst_stream(stream_id, ErrorCode.CANCEL))
        self._forget(stream_id)
        self._events.append((stream_id, status))

    def _fault(self, stream_id: int, code: ErrorCode, complaint: str) -> None:
        self.reset(stream_id, code)
        self._events.append(
            (stream_id, Status(Code.INTERNAL, f"the server broke HTTP: {complaint}"))
        )

    def _fail(self, stream_id: int, error: StatusError) -> None:
        self.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
        self._events.append((stream_id, Status(error.code, error.details)))

    def _take_data(
        self, stream_id: int, stream: Stream, data: bytes, flow_bytes: int, is_end: bool
    ) -> None:
        try:
            for message in stream.take_data(flow_bytes, data):
                self._events.append((stream_id, message))
        except StatusError as error:
            self._fail(stream_id, error)
            return
        if is_end:
            self._end(stream_id, status_of_trailers({}))
        elif stream.is_narrow:
            self._credit(stream_id, stream)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._stream(stream_id)
        super()._on_headers(flags, stream_id, payload)

    def _take_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        headers = decode(block)
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

    def _lose(self, stream_id: int, code: int) -> None:
        self._forget(stream_id)
        self._events.append((stream_id, status_of_reset(code)))

    def _set(self, parameter: int, value: int) -> None:
        if parameter == Setting.MAX_CONCURRENT_STREAMS:
            self._max_streams = value
        else:
            super()._set(parameter, value)

    def _leave(self, last_id: int) -> None:
        self._is_leaving = True
        status = Status(Code.UNAVAILABLE, "the server is going away")
        for unheard_id in [id for id in self._streams if id > last_id]:
            self._forget(unheard_id)
            self._events.append((unheard_id, status))
