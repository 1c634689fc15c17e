"""What a connection is to send: control frames at once, messages as the peer's windows allow."""

from typing import Generic, Protocol, TypeVar

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


class Sending(Protocol):
    """A stream that sends `body`, of which `send_window` bytes may go now."""

    body: memoryview
    send_window: int


AnySending = TypeVar("AnySending", bound=Sending)


class Outbox(Generic[AnySending]):
    """Bytes for the peer; messages wait while `is_paused`. `frame_bytes` is the peer's limit.

    The last frame of a body has the flags `last_flags`.
    """

    def __init__(self, last_flags: int = END_STREAM) -> None:
        self.is_paused = False
        self.frame_bytes = DEFAULT_FRAME_BYTES
        self._out = bytearray()
        self._last_flags = last_flags
        self._unsent: dict[int, AnySending] = {}
        self._stirred: dict[int, AnySending] = {}
        self._window = DEFAULT_WINDOW

    def __contains__(self, stream_id: int) -> bool:
        """Tell whether some of a stream's body waits."""
        return stream_id in self._unsent

    def add(self, frame: bytes) -> None:
        """Send a frame that no window holds up."""
        self._out += frame

    def add_body(self, stream_id: int, stream: AnySending) -> None:
        """Send a stream's body, piece by piece."""
        self._unsent[stream_id] = self._stirred[stream_id] = stream

    def drop_body(self, stream_id: int) -> None:
        """Send no more of a stream's body."""
        self._unsent.pop(stream_id, None)
        self._stirred.pop(stream_id, None)

    def stir(self, stream_id: int) -> None:
        """Try a stream again, whose window has changed; the others that wait cost nothing."""
        if stream := self._unsent.get(stream_id):
            self._stirred[stream_id] = stream

    def stir_all(self) -> None:
        """Try all streams again."""
        self._stirred.update(self._unsent)

    def widen(self, increment: int) -> None:
        """Let more be sent on the connection. Raises ProtocolError beyond what a window may be."""
        if self._window <= 0:
            self.stir_all()
        self._window += increment
        if self._window > MAX_WINDOW:
            raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "a window too wide")

    def take(self) -> bytes:
        """Return what can be sent now, once."""
        if self._stirred and not self.is_paused:
            stirred, self._stirred = self._stirred, {}
            for stream_id, stream in stirred.items():
                if self._window <= 0:
                    break  # All that wait are stirred when it opens again.
                self._send(stream_id, stream)
        if not self._out:
            return b""
        data = bytes(self._out)
        self._out.clear()
        return data

    def _send(self, stream_id: int, stream: AnySending) -> None:
        while stream.body:
            limit = min(self.frame_bytes, self._window, stream.send_window)
            if limit <= 0:
                return
            piece, stream.body = stream.body[:limit], stream.body[limit:]
            stream.send_window -= len(piece)
            self._window -= len(piece)
            flags = 0 if stream.body else self._last_flags
            self._out += frames.frame(Kind.DATA, flags, stream_id, bytes(piece))
        del self._unsent[stream_id]
