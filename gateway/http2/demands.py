"""What is asked of a peer: met, or the connection ends."""

from gateway.http2.frames import ErrorCode, ProtocolError


def require(condition: bool, complaint: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
    """Raise ProtocolError unless the condition holds."""
    if not condition:
        raise ProtocolError(code, complaint)


def require_size(payload: bytes, size: int) -> None:
    """Raise ProtocolError unless a frame's payload is of that size."""
    if len(payload) != size:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {len(payload)} bytes")
