"""Metadata, as handlers know it, and the headers that carry it."""

import base64
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from gateway.http2.headers import NO_TABLE, literals
from gateway.http2.status import Code, Status, StatusError

Metadata = Sequence[tuple[str, str | bytes]]
Headers = Sequence[tuple[str, str]]

ENCODINGS = "identity, deflate, gzip"

_RESERVED = frozenset(("content-type", "te", "host"))
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_BEGIN = literals(
    (
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-accept-encoding", ENCODINGS),
    )
)


def metadata_of(headers: Headers) -> Metadata:
    """Return the metadata in a request's headers. Raises StatusError for what is not base64."""
    return [
        (name, one)
        for name, value in headers
        if not (name.startswith((":", "grpc-")) or name in _RESERVED)
        for one in (_binary(value) if name.endswith("-bin") else (value,))
    ]


def begin_block(metadata: Metadata) -> bytes:
    """Return the header block with which a response begins."""
    return NO_TABLE + _BEGIN + literals(_headers(metadata))


def end_block(status: Status, metadata: Metadata, *, has_begun: bool) -> bytes:
    """Return the header block with which a response ends, and begins where it has not."""
    told = [("grpc-status", str(int(status.code)))]
    if status.details:
        told.append(("grpc-message", quote(status.details, safe=_PRINTABLE)))
    begin = b"" if has_begun else _BEGIN
    return NO_TABLE + begin + literals((*told, *_headers(metadata)))


def refusal_block(http_status: int) -> bytes:
    """Return the header block of the answer to what is no gRPC request."""
    return NO_TABLE + literals(((":status", str(http_status)), ("accept", "application/grpc")))


def _headers(metadata: Metadata) -> Iterable[tuple[str, str]]:
    for name, value in metadata:
        yield name, value if isinstance(value, str) else _base64(value)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def _binary(joined: str) -> Iterable[bytes]:
    """Return the values in a header, which a proxy may have joined."""
    try:
        return [base64.b64decode(_padded(one), validate=True) for one in joined.split(",")]
    except ValueError as error:
        raise StatusError(Status(Code.INTERNAL, "binary metadata is not base64")) from error


def _padded(value: str) -> str:
    return value + "=" * (-len(value) % 4)
