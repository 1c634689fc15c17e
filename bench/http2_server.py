"""Just enough of an HTTP/2 server to answer gRPC clients in few writes. Knows no method."""

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

from hpack import Decoder

from gateway.http2 import frames
from gateway.http2.frames import ACK, DEFAULT_WINDOW, END_HEADERS, END_STREAM, Kind, Setting
from gateway.http2.headers import literals
from gateway.http2.messages import prefixed
from gateway.http2.parameters import read_settings

WINDOW = 2**24
SETTINGS = ((Setting.MAX_CONCURRENT_STREAMS, 2**20), (Setting.INITIAL_WINDOW_SIZE, WINDOW))
BEGIN = literals({":status": "200", "content-type": "application/grpc"}.items())
END = literals({"grpc-status": "0"}.items())

Answer = Callable[["Peer", int, str, bytes], None]
"""Given a client, the stream of its call, the method's path and the request."""


class Peer(asyncio.Protocol):
    """One client: `answer` is called when a request is whole.

    `windows` has what each stream that is open may still carry.
    """

    def __init__(self, answer: Answer) -> None:
        self.is_paused = False
        self.windows: dict[int, int] = {}
        self._window = DEFAULT_WINDOW
        self._answer = answer
        self._greeting = frames.PREFACE
        self._frames = frames.FrameReader()
        self._headers = Decoder()
        self._requests: dict[int, tuple[str, bytearray]] = {}
        self._first_window = DEFAULT_WINDOW
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            Kind.DATA: self._on_data,
            Kind.HEADERS: self._on_headers,
            Kind.RST_STREAM: self._on_rst_stream,
            Kind.SETTINGS: self._on_settings,
            Kind.PING: self._on_ping,
            Kind.WINDOW_UPDATE: self._on_window_update,
        }

    def write(self, pieces: Iterable[bytes]) -> None:
        """Send frames, all at once."""
        self._transport.write(b"".join(pieces))

    def begin(self, stream_id: int) -> bytes:
        """Return the frame that begins an answer."""
        return frames.headers(stream_id, BEGIN)

    def end(self, stream_id: int) -> bytes:
        """Return the frame that ends an answer, and let go of its stream."""
        self.windows.pop(stream_id, None)
        return frames.frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream_id, END)

    def take(self, stream_id: int, num_bytes: int) -> bool:
        """Take so much of the windows of a stream and of the connection, if there is so much."""
        if min(self._window, self.windows[stream_id]) < num_bytes:
            return False
        self._window -= num_bytes
        self.windows[stream_id] -= num_bytes
        return True

    def answer_once(self, stream_id: int, message: bytes) -> None:
        """Answer a call with one message."""
        self.write((self.begin(stream_id), data(stream_id, message), self.end(stream_id)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write((frames.settings(SETTINGS), frames.window_update(0, WINDOW)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.windows.clear()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False

    def data_received(self, received: bytes) -> None:
        if self._greeting:
            size = min(len(received), len(self._greeting))
            self._greeting, received = self._greeting[size:], received[size:]
        for kind, flags, stream_id, payload in self._frames.feed(received):
            if handler := self._handlers.get(kind):
                handler(flags, stream_id, payload)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not flags & END_HEADERS:
            raise ValueError("a header block in several frames")
        headers = dict(self._headers.decode(frames.header_fragment(flags, payload)))
        self._requests[stream_id] = str(headers[":path"]), bytearray()
        self.windows[stream_id] = self._first_window

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        path, body = self._requests[stream_id]
        body += frames.unpadded(flags, payload)
        if payload:
            self.write((frames.window_update(0, len(payload)),))
        if flags & END_STREAM:
            del self._requests[stream_id]
            self._answer(self, stream_id, path, bytes(body))

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._requests.pop(stream_id, None)
        self.windows.pop(stream_id, None)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & ACK:
            return
        given = read_settings(payload)
        first_window = given.get(Setting.INITIAL_WINDOW_SIZE, self._first_window)
        change, self._first_window = first_window - self._first_window, first_window
        for stream in self.windows:
            self.windows[stream] += change
        self.write((frames.frame(Kind.SETTINGS, ACK, 0),))

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not flags & ACK:
            self.write((frames.frame(Kind.PING, ACK, 0, payload),))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            self._window += frames.uint32(payload)
        elif stream_id in self.windows:
            self.windows[stream_id] += frames.uint32(payload)


def data(stream_id: int, message: bytes) -> bytes:
    """Return the frame of one message."""
    return frames.frame(Kind.DATA, 0, stream_id, prefixed(message))
