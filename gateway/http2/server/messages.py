"""Messages out of the data of a request, decompressed, and none larger than allowed."""

import struct
import zlib
from collections.abc import Iterator

from gateway.http2.messages import PREFIX_BYTES
from gateway.http2.status import Code, Status, StatusError

_PREFIX = struct.Struct(">BI")
_WINDOW_BITS = {"deflate": zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS + 16}


class RequestReader:
    """Cuts the data of one stream into messages; holds at most one that is not whole yet."""

    __slots__ = ("_encoding", "_max_bytes", "_rest")

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._rest = bytearray()

    @property
    def num_held(self) -> int:
        """Tell how many bytes wait for the rest of their message."""
        return len(self._rest)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that `data` completes. Raises StatusError for one it cannot take."""
        self._rest += data
        while len(self._rest) >= PREFIX_BYTES:
            flag, size = _PREFIX.unpack_from(self._rest)
            self._check(flag, size)
            end = PREFIX_BYTES + size
            if len(self._rest) < end:
                return
            message = bytes(self._rest[PREFIX_BYTES:end])
            del self._rest[:end]
            yield self._inflated(message) if flag else message

    def _check(self, flag: int, size: int) -> None:
        if flag not in (0, 1) or (flag and self._encoding == "identity"):
            raise StatusError(Status(Code.INTERNAL, "a message compressed in no known way"))
        if size > self._max_bytes:
            raise _too_large(self._max_bytes)

    def _inflated(self, message: bytes) -> bytes:
        inflater = zlib.decompressobj(_WINDOW_BITS[self._encoding])
        try:
            inflated = inflater.decompress(message, self._max_bytes + 1)
        except zlib.error as error:
            raise StatusError(Status(Code.INTERNAL, f"no {self._encoding}: {error}")) from error
        if len(inflated) > self._max_bytes:
            raise _too_large(self._max_bytes)
        if not inflater.eof:
            raise StatusError(Status(Code.INTERNAL, f"{self._encoding} that was cut short"))
        return inflated


def _too_large(max_bytes: int) -> StatusError:
    return StatusError(Status(Code.RESOURCE_EXHAUSTED, f"a message of more than {max_bytes} bytes"))
