"""What a connection knows of one of its streams: windows, request, how far the call has come."""

from collections.abc import Sequence

from gateway.http2.frames import DEFAULT_WINDOW
from gateway.http2.messages import PREFIX_BYTES, MessageReader
from gateway.http2.status import Code, Status, StatusError, check_response

WINDOW = DEFAULT_WINDOW


class Stream:
    """One call. What has arrived and is not read yet counts against its window of 64 KiB.

    While the window is not `is_narrow`, it need not grow.
    """

    __slots__ = (
        "_has_headers",
        "_messages",
        "_unread",
        "_window",
        "body",
        "is_narrow",
        "send_window",
    )

    def __init__(self, body: bytes, send_window: int) -> None:
        self.body = memoryview(body)
        self.send_window = send_window
        self._messages = MessageReader()
        self._window = WINDOW
        self._unread = 0
        self._has_headers = False
        self.is_narrow = False

    def take_headers(self, headers: dict[str, str], is_end: bool) -> dict[str, str] | None:
        """Note a header block; return it if it holds the trailers. Raises StatusError."""
        if is_end and not self._has_headers and "grpc-status" not in headers:
            check_response(headers)
        if is_end and not self._messages.is_between_messages:
            raise StatusError(Status(Code.INTERNAL, "the server ended the call within a message"))
        if is_end:
            return headers
        if self._has_headers:
            raise StatusError(Status(Code.INTERNAL, "the server sent its headers twice"))
        check_response(headers)
        self._has_headers = True
        return None

    def take_data(self, flow_bytes: int, data: bytes) -> Sequence[bytes]:
        """Return the messages that data completes, `flow_bytes` with its padding.

        Raises StatusError.
        """
        if not self._has_headers:
            raise StatusError(Status(Code.INTERNAL, "the server sent data before its headers"))
        self._window -= flow_bytes
        self.is_narrow = self._window <= WINDOW // 2
        if self._window < 0:
            raise StatusError(Status(Code.INTERNAL, "the server overran a stream's window"))
        messages = self._messages.feed(data)
        for message in messages:
            self._unread += PREFIX_BYTES + len(message)
        return messages

    def read(self, num_bytes: int) -> None:
        """Note that messages of so many bytes, with their prefixes, have been read."""
        self._unread -= num_bytes

    def credit(self) -> int:
        """Return what the window may grow by, if that is worth a frame, and let it grow.

        A message that is not whole yet counts as read, so that one longer than the window can
        arrive; the window stays shut until it is read.
        """
        credit = WINDOW - self._unread - self._window
        if credit < WINDOW // 2:
            return 0
        self._window += credit
        self.is_narrow = self._window <= WINDOW // 2
        return credit
