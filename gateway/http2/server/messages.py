"""Messages out of the data of a request, decompressed, and none larger than allowed."""

import struct
import zlib
from collections.abc import Iterator

from gateway.http2.messages import PREFIX_BYTES
from gateway.http2.status import Code, Status, StatusError

MAX_RATIO = 50
FREE_BYTES = 2**18
"""A message may become so many times larger, beyond what any may become."""

SLICE_BYTES = 2**10
"""Are decompressed before it is looked at what they became: a bomb has not grown by then."""

_PREFIX = struct.Struct(">BI")
_WINDOW_BITS = {"deflate": zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS + 16}


class RequestReader:
    """Cuts the data of one stream into messages; holds at most one that is not whole yet."""

    __slots__ = ("_encoding", "_inflation", "_max_bytes", "_rest")

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._inflation: _Inflation | None = None

    @property
    def num_held(self) -> int:
        """Tell how many bytes wait for the rest of their message."""
        return len(self._rest) + (self._inflation.num_held if self._inflation else 0)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that `data` completes. Raises StatusError for one it cannot take."""
        self._rest += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> bytes | None:
        """Return the next message, None where it is not whole."""
        if self._inflation:
            return self._inflate(self._inflation)
        if len(self._rest) < PREFIX_BYTES:
            return None
        flag, size = _PREFIX.unpack_from(self._rest)
        self._check(flag, size)
        if flag:
            del self._rest[:PREFIX_BYTES]
            self._inflation = _Inflation(self._encoding, size, self._max_bytes)
            return self._inflate(self._inflation)
        end = PREFIX_BYTES + size
        return self._cut(end)[PREFIX_BYTES:] if len(self._rest) >= end else None

    def _check(self, flag: int, size: int) -> None:
        if flag not in (0, 1) or (flag and self._encoding == "identity"):
            raise StatusError(Status(Code.INTERNAL, "a message compressed in no known way"))
        if size > self._max_bytes:
            raise _too_large(self._max_bytes)

    def _inflate(self, inflation: "_Inflation") -> bytes | None:
        inflation.take(self._cut(inflation.num_missing))
        if inflation.num_missing:
            return None
        self._inflation = None
        return inflation.message()

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._rest[:size])
        del self._rest[:size]
        return piece


class _Inflation:
    """A message that is decompressed while it arrives, so that no frame costs much."""

    def __init__(self, encoding: str, size: int, max_bytes: int) -> None:
        self.num_missing = size
        self._encoding = encoding
        self._num_taken = 0
        self._max_bytes = max_bytes
        self._inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
        self._message = bytearray()

    @property
    def num_held(self) -> int:
        return len(self._message)

    def take(self, piece: bytes) -> None:
        """Decompress what has arrived. Raises StatusError."""
        self.num_missing -= len(piece)
        for at in range(0, len(piece), SLICE_BYTES):
            self._take_slice(piece[at : at + SLICE_BYTES])

    def _take_slice(self, piece: bytes) -> None:
        self._num_taken += len(piece)
        if self._inflater.eof:
            raise self._broken()
        room = min(self._max_bytes, FREE_BYTES + MAX_RATIO * self._num_taken)
        try:
            self._message += self._inflater.decompress(piece, room + 1 - len(self._message))
        except zlib.error as error:
            raise self._broken() from error
        if len(self._message) > room:
            raise _too_large(self._max_bytes) if room == self._max_bytes else _bomb()
        if self._inflater.unused_data:
            raise self._broken()

    def message(self) -> bytes:
        """Return the whole message. Raises StatusError where it was cut short."""
        if not self._inflater.eof:
            raise self._broken()
        return bytes(self._message)

    def _broken(self) -> StatusError:
        return StatusError(Status(Code.INTERNAL, f"a message that is no {self._encoding}"))


def _bomb() -> StatusError:
    details = f"a message that becomes more than {MAX_RATIO} times larger"
    return StatusError(Status(Code.RESOURCE_EXHAUSTED, details))


def _too_large(max_bytes: int) -> StatusError:
    return StatusError(Status(Code.RESOURCE_EXHAUSTED, f"a message of more than {max_bytes} bytes"))
