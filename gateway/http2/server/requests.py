"""A call's first headers as a request, or why they are none."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from gateway.http2.server.fields import Field
from gateway.http2.server.metadata import ENCODINGS, Headers
from gateway.http2.status import Code, Status, StatusError

PSEUDO = frozenset((":method", ":scheme", ":path", ":authority"))
REQUIRED = frozenset((":method", ":scheme", ":path"))
OF_HTTP1 = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
NO_VALUE = re.compile(rb"\A[\t ]|[\t ]\Z|[\0-\x08\n-\x1f\x7f]")
UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Malformed(Exception):
    """The headers break HTTP; the stream is to be reset."""


class NotGrpc(Exception):
    """The headers are HTTP but ask for nothing that gRPC knows."""

    def __init__(self, http_status: int) -> None:
        super().__init__(http_status)
        self.http_status = http_status


class Request(NamedTuple):
    """What a call's headers say."""

    path: str
    timeout_s: float | None
    encoding: str
    headers: Headers
    content_length: int | None = None


def read_request(fields: Sequence[Field]) -> Request:
    """Return the request in a header list. Raises Malformed, NotGrpc, StatusError."""
    headers = _headers(fields)
    _check_pseudo(headers)
    named = dict(headers)
    _check_host(named)
    length = _content_length(headers)
    if named[":method"] != "POST":
        raise NotGrpc(405)
    if not re.match(r"application/grpc($|[+;])", named.get("content-type", "")):
        raise NotGrpc(415)
    return Request(named[":path"], _timeout_s(named), _encoding(named), headers, length)


def check_trailers(fields: Sequence[Field]) -> None:
    """Raise Malformed for what cannot come at the end of a request."""
    if any(name.startswith(":") for name, _ in _headers(fields)):
        raise Malformed("a pseudo-header at the end")


def _headers(fields: Sequence[Field]) -> Headers:
    """Return fields as text. Raises Malformed for what RFC 9113, section 8.2, forbids."""
    for name, value in fields:
        if not NAME.fullmatch(name, name.startswith(b":")) or NO_VALUE.search(value):
            raise Malformed("a header that cannot be one")
        if name in OF_HTTP1 or (name == b"te" and value != b"trailers"):
            raise Malformed("a header of HTTP/1")
    return [(str(name, "latin-1"), str(value, "latin-1")) for name, value in fields]


def _check_pseudo(headers: Headers) -> None:
    """Raise Malformed for what RFC 9113, section 8.3, forbids."""
    pseudo = [name for name, _ in headers if name.startswith(":")]
    comes_first = all(name.startswith(":") for name, _ in headers[: len(pseudo)])
    is_unique = len(pseudo) == len(set(pseudo))
    if not (comes_first and is_unique and PSEUDO >= set(pseudo) >= REQUIRED):
        raise Malformed("pseudo-headers out of place")


def _check_host(headers: dict[str, str]) -> None:
    """Raise Malformed for a target that RFC 9113, section 8.3.1, does not know."""
    authority, host = headers.get(":authority"), headers.get("host")
    if authority and host and authority.lower() != host.lower():
        raise Malformed("two hosts")
    if not headers[":path"].startswith("/") and headers[":path"] != "*":
        raise Malformed("a path that is none")


def _content_length(headers: Headers) -> int | None:
    """Return the length that the content must have. Raises Malformed."""
    told = {value for name, value in headers if name == "content-length"}
    if not told:
        return None
    length = told.pop()
    if told or not re.fullmatch(r"[0-9]{1,15}", length):
        raise Malformed("a content-length that is none")
    return int(length)


def _timeout_s(headers: dict[str, str]) -> float | None:
    given = headers.get("grpc-timeout")
    if given is None:
        return None
    matched = re.fullmatch(r"([0-9]{1,8})([HMSmun])", given)
    if matched is None:
        raise StatusError(Status(Code.INTERNAL, f"no grpc-timeout: {given[:20]!r}"))
    return int(matched[1]) * UNITS[matched[2]]


def _encoding(headers: dict[str, str]) -> str:
    encoding = headers.get("grpc-encoding", "identity")
    if encoding not in ENCODINGS.split(", "):
        raise StatusError(Status(Code.UNIMPLEMENTED, f"no grpc-encoding: {encoding[:20]!r}"))
    return encoding
