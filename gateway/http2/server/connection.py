"""The server's end of a connection, without its socket: bytes in, events and bytes out."""

import time
from collections.abc import Callable, Iterable
from enum import Enum, auto

from hpack import Decoder, HPACKError

from gateway.http2 import frames
from gateway.http2.endpoint import Endpoint, require
from gateway.http2.frames import (
    END_STREAM,
    MAX_WINDOW,
    PREFACE,
    ErrorCode,
    Kind,
    ProtocolError,
    Setting,
)
from gateway.http2.headers import MAX_LIST_BYTES
from gateway.http2.server.messages import RequestReader
from gateway.http2.server.metadata import Metadata, begin_block, end_block, refusal_block
from gateway.http2.server.outbox import Responses
from gateway.http2.server.patience import Allowance, PingWatch
from gateway.http2.server.requests import Malformed, NotGrpc, Request, read_request
from gateway.http2.server.stream import WINDOW, ServerStream
from gateway.http2.status import Code, Status, StatusError


class End(Enum):
    """How a client's side of a call ends."""

    HALF_CLOSED = auto()
    GONE = auto()


Event = tuple[ServerStream, Request | bytes | End]
"""A stream, and what came on it: first the request, then messages, then an end."""

MAX_STREAMS = 1024
MAX_METADATA_BYTES = 2**14
MAX_HELD_MESSAGES = 4
"""Of the largest size, on one connection: unfinished, or waiting for a handler to read them."""

SETTINGS = (
    (Setting.MAX_CONCURRENT_STREAMS, MAX_STREAMS),
    (Setting.INITIAL_WINDOW_SIZE, WINDOW),
    (Setting.MAX_HEADER_LIST_SIZE, MAX_METADATA_BYTES),
)

_DRAIN_PING = b"draining"
_ALIVE_PING = b"alive??\n"


class ServerConnection(Endpoint[ServerStream, Event]):
    """A connection of a client; a call is a stream."""

    def __init__(self, max_message_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._responses = Responses()
        super().__init__(self._responses, frames.settings(SETTINGS))
        self.send = self._responses.send
        self._max_message_bytes = max_message_bytes
        self._max_held_bytes = MAX_HELD_MESSAGES * max_message_bytes + WINDOW
        self._num_held = 0
        self._clock = clock
        self._preface = PREFACE
        self._decoder = Decoder(MAX_LIST_BYTES)
        self.messages_received = 0
        self._pings = PingWatch()
        self._allowance = Allowance(clock())
        self._last_id = MAX_WINDOW

    @property
    def messages_sent(self) -> int:
        return self._responses.num_messages

    @property
    def is_over(self) -> bool:
        """Tell whether the client was told to leave and every call has ended."""
        return self._last_id < MAX_WINDOW and not self._streams

    def begin(self, stream: ServerStream, metadata: Metadata) -> None:
        """Send the headers of a response, with the metadata."""
        self._responses.begin(stream, begin_block(metadata))

    def finish(self, stream: ServerStream, status: Status, metadata: Metadata) -> None:
        """End a call, after all that still waits of it."""
        block = end_block(status, metadata, has_begun=stream.has_begun)
        stream.ending = frames.headers(stream.id, block, END_STREAM)
        if stream.id not in self._outbox:
            self._close(stream)

    def cut(self, stream: ServerStream, status: Status) -> None:
        """End a call at once; what still waits of it is not sent."""
        self._outbox.drop_body(stream.id)
        self.finish(stream, status, ())

    def read(self, stream: ServerStream, num_bytes: int) -> None:
        """Note that a message of so many bytes was read, so that others may follow it."""
        if stream.id in self._streams:
            self._num_held -= stream.num_held
            stream.read(num_bytes)
            self._num_held += stream.num_held
            self._credit(stream)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._outbox.add(frames.frame(Kind.PING, 0, 0, _ALIVE_PING))

    def drain(self) -> None:
        """Ask the client to leave; calls that are on their way are still taken."""
        self._outbox.add(frames.goaway(ErrorCode.NO_ERROR, "", MAX_WINDOW))
        self._outbox.add(frames.frame(Kind.PING, 0, 0, _DRAIN_PING))

    def receive(self, data: bytes) -> list[Event]:
        """Return what came of the data. Raises ProtocolError."""
        return super().receive(self._after_preface(data) if self._preface else data)

    def data_to_send(self) -> bytes:
        """Return what is to be sent, once."""
        data = super().data_to_send()
        ended = [stream for stream in self._responses.drained if stream.ending]
        if not ended:
            return data
        for stream in ended:
            self._close(stream)
        return data + super().data_to_send()

    def take_drained(self) -> list[ServerStream]:
        """Return the streams of which nothing waits any more, once."""
        drained, self._responses.drained = self._responses.drained, []
        return drained

    def _after_preface(self, data: bytes) -> bytes:
        size = min(len(data), len(self._preface))
        require(data[:size] == self._preface[:size], "this is not HTTP/2")
        self._preface = self._preface[size:]
        return data[size:]

    def _is_past(self, stream_id: int) -> bool:
        return stream_id % 2 == 1 and stream_id <= self._last_heard_id

    def _forget(self, stream_id: int) -> ServerStream | None:
        if stream := super()._forget(stream_id):
            self._num_held -= stream.num_held
        return stream

    def _close(self, stream: ServerStream) -> None:
        if self._forget(stream.id):
            self._responses.finish(stream)
            if not stream.is_half_closed:
                self._outbox.add(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))

    def _credit(self, stream: ServerStream) -> None:
        if credit := stream.credit():
            self._outbox.add(frames.window_update(stream.id, credit))

    def _annoy(self) -> None:
        self._allowance.spend(self._clock())

    def _take_block(self, stream_id: int, block: bytes, is_end: bool) -> None:
        try:
            pairs = self._decoder.decode(block, raw=True)
        except HPACKError as error:
            raise ProtocolError(ErrorCode.COMPRESSION_ERROR, str(error)) from error
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._take_trailers(stream, is_end)
        elif not self._is_past(stream_id):
            require(stream_id % 2 == 1, "a stream that is not the client's")
            self._last_heard_id = stream_id
            if stream_id <= self._last_id:
                self._open(stream_id, pairs, is_end)

    def _take_trailers(self, stream: ServerStream, is_end: bool) -> None:
        if not is_end or stream.is_half_closed:
            self._break_off(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            self._half_close(stream)

    def _open(self, stream_id: int, pairs: Iterable[tuple[bytes, bytes]], is_end: bool) -> None:
        if len(self._streams) >= MAX_STREAMS:
            self._refuse(stream_id, ErrorCode.REFUSED_STREAM)
            return
        try:
            request = read_request(pairs)
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
        size = sum(len(name) + len(value) + 32 for name, value in request.headers)
        if size > MAX_METADATA_BYTES:
            status = Status(Code.RESOURCE_EXHAUSTED, f"{size} bytes of metadata")
            self._fail(stream_id, StatusError(status))
            return
        self._events.append((stream, request))
        if is_end:
            self._events.append((stream, End.HALF_CLOSED))

    def _add(self, stream_id: int, encoding: str, is_end: bool) -> ServerStream:
        messages = RequestReader(encoding, self._max_message_bytes)
        stream = ServerStream(stream_id, self._stream_send_window, messages)
        stream.is_half_closed = is_end
        self._streams[stream_id] = stream
        return stream

    def _refuse(self, stream_id: int, code: ErrorCode) -> None:
        self._annoy()
        self._outbox.add(frames.rst_stream(stream_id, code))

    def _take_data(
        self, stream_id: int, stream: ServerStream, data: bytes, flow_bytes: int, is_end: bool
    ) -> None:
        if stream.is_half_closed:
            self._break_off(stream, ErrorCode.STREAM_CLOSED)
            return
        if not data and not is_end:
            self._annoy()
        self._num_held -= stream.num_held
        try:
            for message in stream.take_data(flow_bytes, data, is_end):
                self._events.append((stream, message))
                self.messages_received += 1
        except StatusError as error:
            self._num_held += stream.num_held
            self._fail(stream_id, error)
            return
        self._num_held += stream.num_held
        self._check_held(stream)
        if is_end:
            self._half_close(stream)
        else:
            self._credit(stream)

    def _check_held(self, stream: ServerStream) -> None:
        if self._num_held > self._max_held_bytes:
            status = Status(Code.RESOURCE_EXHAUSTED, "too much is unread on this connection")
            self._fail(stream.id, StatusError(status))

    def _half_close(self, stream: ServerStream) -> None:
        stream.is_half_closed = True
        self._events.append((stream, End.HALF_CLOSED))

    def _break_off(self, stream: ServerStream, code: ErrorCode) -> None:
        """Reset the stream of a client that broke HTTP."""
        self._annoy()
        self._forget(stream.id)
        self._outbox.add(frames.rst_stream(stream.id, code))
        self._events.append((stream, End.GONE))

    def _lose(self, stream_id: int, code: int) -> None:
        self._annoy()
        if stream := self._forget(stream_id):
            self._events.append((stream, End.GONE))

    def _fail(self, stream_id: int, error: StatusError) -> None:
        self._annoy()
        stream = self._streams[stream_id]
        self.cut(stream, Status(error.code, error.details))
        self._events.append((stream, End.GONE))

    def _leave(self, last_id: int) -> None:
        """Nothing changes: the client's calls go on, and there are none of ours."""

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._annoy()
        super()._on_settings(flags, stream_id, payload)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        super()._on_ping(flags, stream_id, payload)
        if not flags & frames.ACK:
            num_sent = self._responses.num_messages + self._responses.num_blocks
            self._pings.note(self._clock(), num_sent)
        elif payload == _DRAIN_PING:
            self._last_id = self._last_heard_id
            self.close()
