"""gRPC's length-prefixed messages: out of the DATA frames that they straddle, and back."""

import struct
from collections.abc import Iterator, Sequence

from gateway.http2.status import Code, Status, StatusError

PREFIX_BYTES = 5
MAX_MESSAGE_BYTES = 64 * 2**20

_PREFIX = struct.Struct(">BI")


def prefixed(message: bytes) -> bytes:
    """Return a message as it travels, not compressed."""
    return _PREFIX.pack(0, len(message)) + message


class MessageReader:
    """Cuts the data of one stream into messages; holds at most one that is not whole yet."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def is_between_messages(self) -> bool:
        return not self._rest

    def feed(self, data: bytes) -> Sequence[bytes]:
        """Return the messages that `data` completes. Raises StatusError for one it cannot take."""
        if not self._rest and len(data) >= PREFIX_BYTES:
            is_compressed, size = _PREFIX.unpack_from(data)
            if PREFIX_BYTES + size == len(data) and not is_compressed:
                return (data[PREFIX_BYTES:],)
        self._rest += data
        return list(self._cut())

    def _cut(self) -> Iterator[bytes]:
        while len(self._rest) >= PREFIX_BYTES:
            end = PREFIX_BYTES + _size(self._rest)
            if len(self._rest) < end:
                return
            message = bytes(self._rest[PREFIX_BYTES:end])
            del self._rest[:end]
            yield message


def _size(data: bytes | bytearray) -> int:
    is_compressed, size = _PREFIX.unpack_from(data)
    if is_compressed:
        raise StatusError(Status(Code.INTERNAL, "the server compressed a message unasked"))
    if size > MAX_MESSAGE_BYTES:
        raise StatusError(Status(Code.INTERNAL, f"the server sent a message of {size} bytes"))
    return int(size)
