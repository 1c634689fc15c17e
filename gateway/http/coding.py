"""Compressed bodies: inflated within a limit of size, and of what they may grow to."""

import zlib

from gateway.errors import InvalidRequest, RequestTooLarge

MAX_RATIO = 100
FREE_BYTES = 2**20
"""Up to this size the ratio does not matter: small bodies can be very repetitive."""

GZIP = 16 + zlib.MAX_WBITS
RAW = -zlib.MAX_WBITS


def inflated(raw: bytes, coding: str, max_bytes: int) -> bytes:
    """Return what `raw` is in plain. Blocks, for time in proportion to what comes out.

    Raises RequestTooLarge before more than `max_bytes`, or MAX_RATIO times `raw`, is held;
    InvalidRequest for what is not, or not wholly, of that coding.
    """
    limit = min(max_bytes, max(FREE_BYTES, MAX_RATIO * len(raw)))
    stream = zlib.decompressobj(GZIP if coding.endswith("gzip") else _deflate(raw))
    try:
        plain = stream.decompress(raw, limit + 1)
    except zlib.error:
        raise _invalid(coding) from None
    if len(plain) > limit:
        raise RequestTooLarge(
            f"The request body is larger than {max_bytes} bytes, or than {MAX_RATIO} times "
            "what was sent of it."
        )
    if not stream.eof or stream.unused_data:
        raise _invalid(coding)
    return plain


def _deflate(raw: bytes) -> int:
    """Return which of the two forms that are sent as `deflate` this is (RFC 9110, 8.4.1.2)."""
    has_header = len(raw) > 1 and raw[0] & 15 == zlib.DEFLATED and not (raw[0] << 8 | raw[1]) % 31
    return zlib.MAX_WBITS if has_header else RAW


def _invalid(coding: str) -> InvalidRequest:
    return InvalidRequest(f"The body is not {coding}, or not all of it.", code="invalid_encoding")
