"""Header blocks by HPACK without a dynamic table, so that no block depends on one before it.

Ours start by setting their table to nothing and index nothing; the server is told in SETTINGS to
keep none either. Encoded once, a block serves every connection; a decoded one can be remembered.
"""

from collections.abc import Iterable
from functools import lru_cache

from hpack import Decoder, HPACKError
from hpack.hpack import encode_integer

from gateway.http2.frames import ErrorCode, ProtocolError

MAX_BLOCK_BYTES = 2**15
MAX_FRAGMENTS = 64
MAX_LIST_BYTES = 2**16
MAX_TIMEOUT = 10**8 - 1

NO_TABLE = b"\x20"
"""Begins a block: the encoder keeps no table."""


_NEVER_INDEXED = b"\x10"
_TRAILERS = {"te": "trailers", "content-type": "application/grpc"}


def call_block(scheme: str, authority: str, path: str) -> bytes:
    """Return the start of the header block of a call, the same for every call to a method."""
    pseudo = {":method": "POST", ":scheme": scheme, ":path": path, ":authority": authority}
    return NO_TABLE + literals((pseudo | _TRAILERS).items())


def literals(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return headers that go after those of `call_block`, as literals that nobody indexes.

    RFC 7541, section 6.2.3. To look for shorter forms takes longer than to send these.
    """
    return b"".join([_NEVER_INDEXED + _string(name) + _string(value) for name, value in pairs])


def _string(text: str) -> bytes:
    raw = text.encode()
    return bytes(encode_integer(len(raw), 7)) + raw


def timeout(seconds: float) -> tuple[str, str]:
    """Return the header that tells the server a call's deadline: eight digits and a unit."""
    milliseconds = int(seconds * 1000) + 1
    if milliseconds <= MAX_TIMEOUT:
        return "grpc-timeout", f"{milliseconds}m"
    return "grpc-timeout", f"{min(int(seconds), MAX_TIMEOUT)}S"


@lru_cache(maxsize=64)
def decode(block: bytes) -> dict[str, str]:
    """Return the headers in a block, the last of each name. Raises ProtocolError."""
    decoder = Decoder(MAX_LIST_BYTES)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    try:
        pairs = list(decoder.decode(block, raw=True))
    except HPACKError as error:
        raise ProtocolError(ErrorCode.COMPRESSION_ERROR, "headers that cannot be read") from error
    return {str(name, "latin-1"): str(value, "latin-1") for name, value in pairs}


class BlockReader:
    """Puts a header block together, of so many bytes at most, from the frames that carry it."""

    def __init__(self, max_bytes: int = MAX_BLOCK_BYTES) -> None:
        self._max_bytes = max_bytes
        self.is_open = False
        self.stream_id = 0
        self.ends_stream = False
        self.is_malformed = False
        self._block = bytearray()
        self._num_fragments = 0

    def start(self, stream_id: int, ends_stream: bool) -> None:
        """Begin the block of a stream."""
        self.is_open = True
        self._num_fragments = 0
        self.stream_id, self.ends_stream = stream_id, ends_stream

    def extend(self, fragment: bytes) -> None:
        """Append a frame's part. Raises ProtocolError when the block grows too long."""
        self._block += fragment
        self._num_fragments += 1
        if len(self._block) > self._max_bytes or self._num_fragments > MAX_FRAGMENTS:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too long")

    def finish(self) -> bytes:
        """Return the block, now whole."""
        block = bytes(self._block)
        self._block.clear()
        self.is_open = False
        return block
