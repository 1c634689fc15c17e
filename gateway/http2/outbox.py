"""What a connection is to send: control frames at once, requests as the peer's windows allow."""

from gateway.http2 import frames
from gateway.http2.frames import (
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_STREAM,
    MAX_WINDOW,
    ErrorCode,
    Kind,
    ProtocolError,
)
from gateway.http2.stream import Stream


class Outbox:
    """Bytes for the peer; requests wait while `is_paused`. `frame_bytes` is the peer's limit."""

    def __init__(self) -> None:
        self.is_paused = False
        self.frame_bytes = DEFAULT_FRAME_BYTES
        self._out = bytearray()
        self._unsent: dict[int, Stream] = {}
        self._window = DEFAULT_WINDOW

    def __contains__(self, stream_id: int) -> bool:
        """Tell whether some of a stream's request waits."""
        return stream_id in self._unsent

    def add(self, frame: bytes) -> None:
        """Send a frame that no window holds up."""
        self._out += frame

    def add_body(self, stream_id: int, stream: Stream) -> None:
        """Send a stream's request, piece by piece."""
        self._unsent[stream_id] = stream

    def drop_body(self, stream_id: int) -> None:
        """Send no more of a stream's request."""
        self._unsent.pop(stream_id, None)

    def widen(self, increment: int) -> None:
        """Let more be sent on the connection. Raises ProtocolError beyond what a window may be."""
        self._window += increment
        if self._window > MAX_WINDOW:
            raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "a window too wide")

    def take(self) -> bytes:
        """Return what can be sent now, once."""
        if self._unsent and not self.is_paused:
            for stream_id, stream in list(self._unsent.items()):
                self._send(stream_id, stream)
        if not self._out:
            return b""
        data = bytes(self._out)
        self._out.clear()
        return data

    def _send(self, stream_id: int, stream: Stream) -> None:
        while stream.body:
            limit = min(self.frame_bytes, self._window, stream.send_window)
            if limit <= 0:
                return
            piece, stream.body = stream.body[:limit], stream.body[limit:]
            stream.send_window -= len(piece)
            self._window -= len(piece)
            flags = 0 if stream.body else END_STREAM
            self._out += frames.frame(Kind.DATA, flags, stream_id, bytes(piece))
        del self._unsent[stream_id]
