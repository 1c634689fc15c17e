"""How a gRPC call ends: its status, out of trailers, resets or HTTP. Knows no grpc, no bytes."""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple
from urllib.parse import unquote

from gateway.http2.frames import ErrorCode


class Code(IntEnum):
    """gRPC's status codes that a client makes up by itself; a server may send others."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    DEADLINE_EXCEEDED = 4
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Status(NamedTuple):
    """The end of a call; `code` is one of gRPC's seventeen."""

    code: int
    details: str = ""


class StatusError(Exception):
    """A call ended with a status that is not OK."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"{status.details} (gRPC status {status.code})")
        self.code, self.details = status


# Both tables: gRPC over HTTP/2 and http-grpc-status-mapping, in grpc's doc/.
_RESETS: dict[int, Code] = {
    ErrorCode.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCode.CANCEL: Code.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}
_HTTP = {
    "400": Code.INTERNAL,
    "401": Code.UNAUTHENTICATED,
    "403": Code.PERMISSION_DENIED,
    "404": Code.UNIMPLEMENTED,
    "429": Code.UNAVAILABLE,
    "502": Code.UNAVAILABLE,
    "503": Code.UNAVAILABLE,
    "504": Code.UNAVAILABLE,
}
_NUM_CODES = 17


def status_of_reset(code: int) -> Status:
    """Return the status of a call whose stream the server reset."""
    return Status(_RESETS.get(code, Code.INTERNAL), f"the stream was reset: HTTP/2 error {code}")


def status_of_trailers(trailers: Mapping[str, str]) -> Status:
    """Return the status in a call's last headers."""
    code = trailers.get("grpc-status", "")
    if not (code.isascii() and code.isdecimal()):
        return Status(Code.UNKNOWN, "the server ended the call without a status")
    details = unquote(trailers.get("grpc-message", ""))
    number = int(code[:3])
    return Status(number if number < _NUM_CODES else Code.UNKNOWN, details)


def check_response(headers: Mapping[str, str]) -> None:
    """Raise StatusError unless a call's first headers are those of a gRPC response."""
    http_status = headers.get(":status", "")
    content_type = headers.get("content-type", "")
    if http_status != "200":
        code = _HTTP.get(http_status, Code.UNKNOWN)
        raise StatusError(Status(code, f"the server answered with HTTP status {http_status}"))
    if not content_type.startswith("application/grpc"):
        raise StatusError(Status(Code.UNKNOWN, f"the server answered with {content_type!r}"))
    if headers.get("grpc-encoding", "identity") != "identity":
        raise StatusError(Status(Code.INTERNAL, "the server compresses without being asked"))
