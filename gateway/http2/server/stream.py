"""What the server's end of a connection knows of one stream: windows, and how far each side is."""

from collections.abc import Iterator

from gateway.http2.messages import PREFIX_BYTES
from gateway.http2.server.messages import RequestReader
from gateway.http2.status import Code, Status, StatusError

WINDOW = 2**18


class ServerStream:
    """One call. What has arrived and is not read yet counts against its window.

    `body` is what waits to be sent, at most a message or so; `ending` goes out after it.
    `content_left` is what must still come of the length that was told, if it was.
    """

    __slots__ = (
        "_messages",
        "_unread",
        "_window",
        "body",
        "content_left",
        "ending",
        "has_begun",
        "id",
        "is_half_closed",
        "opened_at",
        "send_window",
    )

    def __init__(
        self, id: int, send_window: int, messages: RequestReader, opened_at: float
    ) -> None:
        self.id = id
        self.send_window = send_window
        self.opened_at = opened_at
        self.content_left: int | None = None
        self.body = memoryview(b"")
        self.ending = b""
        self.has_begun = False
        self.is_half_closed = False
        self._messages = messages
        self._window = WINDOW
        self._unread = 0

    @property
    def num_held(self) -> int:
        """Tell how many bytes the client has made us hold."""
        return self._unread + self._messages.num_held

    def fits_length(self, num_bytes: int, is_end: bool) -> bool:
        """Tell whether so much data, or its end, is what the call's content-length told."""
        if self.content_left is None:
            return True
        self.content_left -= num_bytes
        return self.content_left == 0 if is_end else self.content_left >= 0

    def take_data(self, flow_bytes: int, data: bytes, is_end: bool) -> Iterator[bytes]:
        """Yield the messages that data completes. Raises StatusError."""
        self._window -= flow_bytes
        if self._window < 0:
            raise StatusError(Status(Code.INTERNAL, "the client overran a stream's window"))
        for message in self._messages.feed(data):
            self._unread += PREFIX_BYTES + len(message)
            yield message
        if is_end and self._messages.num_held:
            raise StatusError(Status(Code.INTERNAL, "the client ended within a message"))

    def read(self, num_bytes: int) -> None:
        """Note that a message of so many bytes has been read."""
        self._unread -= PREFIX_BYTES + num_bytes

    def credit(self) -> int:
        """Return what the window may grow by, if that is worth a frame, and let it grow.

        A message that is not whole yet counts as read, so that one longer than the window can
        arrive.
        """
        credit = WINDOW - self._unread - self._window
        if self.is_half_closed or credit < WINDOW // 2:
            return 0
        self._window += credit
        return credit
