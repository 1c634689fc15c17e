"""HTTP/2 frames (RFC 9113, sections 4 and 6): bytes to frames and back. No streams here."""

import struct
from collections.abc import Generator, Iterable
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
DEFAULT_FRAME_BYTES = 2**14
DEFAULT_WINDOW = 2**16 - 1
MAX_WINDOW = 2**31 - 1
MAX_REASON_BYTES = 64

ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FIELDS = 0x20
PRIORITY_BYTES = 5

Frame = tuple[int, int, int, bytes]
"""Kind, flags, stream id, payload."""

_HEADER = struct.Struct(">IBI")
SETTING = struct.Struct(">HI")
_UINT32 = struct.Struct(">I")


class Kind(IntEnum):
    """Frame types."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


class Setting(IntEnum):
    """Parameters of SETTINGS that matter here."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


class ErrorCode(IntEnum):
    """Why a stream is reset or a connection ended."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ProtocolError(Exception):
    """The peer broke the protocol; the connection cannot go on."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class FrameReader:
    """Cuts a byte stream into frames; holds what is no whole frame yet, or was not asked for."""

    def __init__(self) -> None:
        self._data = b""
        self._at = 0

    def feed(self, data: bytes) -> Generator[Frame, None, None]:
        """Yield the frames that `data` completes. Raises ProtocolError for one too long.

        What is not asked for comes with the data that is fed next.
        """
        at = 0
        if self._data:
            data, at = (self._data[self._at :] + data, 0) if data else (self._data, self._at)
        size = len(data)
        try:
            while at + HEADER_BYTES <= size:
                length_and_kind, flags, stream_id = _HEADER.unpack_from(data, at)
                length = length_and_kind >> 8
                if length > DEFAULT_FRAME_BYTES:
                    raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
                start = at + HEADER_BYTES
                if start + length > size:
                    break
                at = start + length
                yield length_and_kind & 0xFF, flags, stream_id & MAX_WINDOW, data[start:at]
        finally:
            self._data, self._at = (data, at) if at < size else (b"", 0)


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return the payload of a DATA or HEADERS frame without its padding. Raises ProtocolError."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def header_fragment(flags: int, payload: bytes) -> bytes:
    """Return what a HEADERS frame holds of its header block. Raises ProtocolError."""
    return _parts(flags, payload)[1]


def parent(flags: int, payload: bytes) -> int:
    """Return the stream that a HEADERS frame's depends on, 0 for none. Raises ProtocolError."""
    priority, _ = _parts(flags, payload)
    return uint32(priority) & MAX_WINDOW if priority else 0


def _parts(flags: int, payload: bytes) -> tuple[bytes, bytes]:
    """Return a HEADERS frame's priority, if it has one, and what it holds of its block."""
    fragment = unpadded(flags, payload)
    if not flags & PRIORITY_FIELDS:
        return b"", fragment
    if len(fragment) < PRIORITY_BYTES:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "a HEADERS frame without its priority")
    return fragment[:PRIORITY_BYTES], fragment[PRIORITY_BYTES:]


def uint32(payload: bytes) -> int:
    """Return the number a frame holds, without its reserved bit where it is 31 bits."""
    return int(_UINT32.unpack_from(payload)[0])


def frame(kind: Kind, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return _HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def settings(parameters: Iterable[tuple[Setting, int]]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in parameters))


def window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(Kind.WINDOW_UPDATE, 0, stream_id, _UINT32.pack(increment))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(Kind.RST_STREAM, 0, stream_id, _UINT32.pack(code))


def goaway(code: ErrorCode, message: str, last_id: int) -> bytes:
    """Return a GOAWAY frame; `last_id` is the last of the peer's streams that was heard."""
    numbers = _UINT32.pack(last_id) + _UINT32.pack(code)
    return frame(Kind.GOAWAY, 0, 0, numbers + message.encode()[:MAX_REASON_BYTES])


def headers(stream_id: int, block: bytes, flags: int = 0) -> bytes:
    """Return the HEADERS frame, and CONTINUATION frames, that carry a header block."""
    first, rest = block[:DEFAULT_FRAME_BYTES], block[DEFAULT_FRAME_BYTES:]
    out = frame(Kind.HEADERS, flags | (0 if rest else END_HEADERS), stream_id, first)
    while rest:
        first, rest = rest[:DEFAULT_FRAME_BYTES], rest[DEFAULT_FRAME_BYTES:]
        out += frame(Kind.CONTINUATION, 0 if rest else END_HEADERS, stream_id, first)
    return out
