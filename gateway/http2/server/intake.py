"""What a client says on its connection, as events: calls, their messages, their ends."""

from collections.abc import Sequence

from gateway.http2 import frames
from gateway.http2.demands import require
from gateway.http2.frames import (
    END_STREAM,
    ErrorCode,
    Kind,
)
from gateway.http2.server.fields import MAX_FIELDS_BYTES, Field
from gateway.http2.server.messages import RequestReader
from gateway.http2.server.metadata import refusal_block
from gateway.http2.server.requests import (
    Malformed,
    NotGrpc,
    Request,
    check_trailers,
    read_request,
)
from gateway.http2.server.stream import ServerStream
from gateway.http2.server.streams import MAX_STREAMS, End, Streams
from gateway.http2.status import Code, Status, StatusError

_CALL_WORK = 10
_CODED_BYTES, _INFLATED_BYTES = 12, 2048
"""So many bytes of headers, and of a message that is decompressed, are one work."""

_SMALL_BYTES = 256
"""Of data: a frame with less, and no end, brings nothing."""


class Intake(Streams):
    """The client's side of a connection; a call is a stream."""

    # Calls begin.

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        require(stream_id % 2 == 1, "a stream that is not the client's")
        if stream_id not in self._streams and stream_id <= self._last_heard_id:
            self._take_late(Kind.HEADERS, stream_id, is_end=False)
        super()._on_headers(flags, stream_id, payload)

    def _take_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        fields = self._fields.read(block)
        self._work += self._fields.num_fields + len(block) // _CODED_BYTES
        if fields is None:
            self._patience.nuisance(self._fields.num_fields / 64 + len(block) / 4096)
        if stream := self._streams.get(stream_id):
            self._take_trailers(stream, fields or (), is_end)
        elif stream_id > self._last_heard_id:
            self._last_heard_id = stream_id
            self._num_opened += 1
            self._open(stream_id, fields, is_end)
        elif is_end:
            self._abandoned.end(stream_id)

    def _take_trailers(self, stream: ServerStream, fields: Sequence[Field], is_end: bool) -> None:
        if stream.is_half_closed:
            self._break_off(stream, ErrorCode.STREAM_CLOSED)
        elif not is_end or not _are_trailers(fields) or not stream.fits_length(0, is_end=True):
            self._break_off(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            self._half_close(stream)

    def _open(self, stream_id: int, fields: Sequence[Field] | None, is_end: bool) -> None:
        self._work += _CALL_WORK
        if stream_id > self._last_id:
            self._patience.nuisance()
            self._abandoned.add(stream_id)
        elif len(self._streams) >= MAX_STREAMS:
            self._refuse(stream_id, ErrorCode.REFUSED_STREAM)
        elif self._block.is_malformed:
            self._refuse(stream_id, ErrorCode.PROTOCOL_ERROR)
        elif fields is None:
            self._add(stream_id, "identity", is_end)
            self._fail(stream_id, _too_much())
        else:
            self._begin(stream_id, fields, is_end)

    def _begin(self, stream_id: int, fields: Sequence[Field], is_end: bool) -> None:
        try:
            request = read_request(fields)
            if is_end and request.content_length:
                raise Malformed("content that does not come")
        except Malformed:
            self._refuse(stream_id, ErrorCode.PROTOCOL_ERROR)
        except NotGrpc as error:
            block = refusal_block(error.http_status)
            self._outbox.add(frames.headers(stream_id, block, END_STREAM))
            self._refuse(stream_id, ErrorCode.NO_ERROR)
        except StatusError as error:
            self._add(stream_id, "identity", is_end)
            self._fail(stream_id, error)
        else:
            self._admit(stream_id, request, is_end)

    def _admit(self, stream_id: int, request: Request, is_end: bool) -> None:
        stream = self._add(stream_id, request.encoding, is_end)
        stream.content_left = request.content_length
        self._events.append((stream, request))
        if is_end:
            self._events.append((stream, End.HALF_CLOSED))

    def _add(self, stream_id: int, encoding: str, is_end: bool) -> ServerStream:
        messages = RequestReader(encoding, self._max_message_bytes)
        stream = ServerStream(stream_id, self._stream_send_window, messages, self._clock())
        stream.is_half_closed = is_end
        self._streams[stream_id] = stream
        return stream

    def _refuse(self, stream_id: int, code: ErrorCode) -> None:
        self._patience.nuisance()
        self._reset(stream_id, code)

    # Their messages come.

    def _take_data(
        self, stream_id: int, stream: ServerStream, data: bytes, flow_bytes: int, is_end: bool
    ) -> None:
        if stream.is_half_closed:
            self._break_off(stream, ErrorCode.STREAM_CLOSED)
        elif not stream.fits_length(len(data), is_end):
            self._break_off(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            self._count_data(data, is_end)
            self._take_messages(stream, data, flow_bytes, is_end)

    def _count_data(self, data: bytes, is_end: bool) -> None:
        if is_end:
            return
        if not data:
            self._patience.nuisance()
        elif len(data) < _SMALL_BYTES:
            self._patience.frame()

    def _take_messages(
        self, stream: ServerStream, data: bytes, flow_bytes: int, is_end: bool
    ) -> None:
        num_held = self.num_held
        self.num_held -= stream.num_held
        refusal = self._read_messages(stream, flow_bytes, data, is_end)
        self.num_held += stream.num_held
        self._work += max(0, self.num_held - num_held) // _INFLATED_BYTES
        if refusal:
            self._fail(stream.id, refusal)
            return
        self._check_held(stream)
        if is_end:
            self._half_close(stream)
        else:
            self._credit(stream)

    def _read_messages(
        self, stream: ServerStream, flow_bytes: int, data: bytes, is_end: bool
    ) -> StatusError | None:
        """Return why the messages cannot be taken, if they cannot."""
        try:
            for number, message in enumerate(stream.take_data(flow_bytes, data, is_end)):
                self._events.append((stream, message))
                if number:
                    self._patience.frame()
        except StatusError as error:
            return error
        return None

    def _check_held(self, stream: ServerStream) -> None:
        if self.num_held > self._max_held_bytes:
            status = Status(Code.RESOURCE_EXHAUSTED, "too much is unread on this connection")
            self._fail(stream.id, StatusError(status))

    def _half_close(self, stream: ServerStream) -> None:
        stream.is_half_closed = True
        self._events.append((stream, End.HALF_CLOSED))


def _are_trailers(fields: Sequence[Field]) -> bool:
    try:
        check_trailers(fields)
    except Malformed:
        return False
    return True


def _too_much() -> StatusError:
    details = f"more than {MAX_FIELDS_BYTES} bytes of metadata"
    return StatusError(Status(Code.RESOURCE_EXHAUSTED, details))
