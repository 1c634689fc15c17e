"""A call's first headers as a request, or why they are none."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from gateway.http2.server.metadata import ENCODINGS, Headers
from gateway.http2.status import Code, Status, StatusError

PSEUDO = frozenset((":method", ":scheme", ":path", ":authority"))
REQUIRED = frozenset((":method", ":scheme", ":path"))
OF_HTTP1 = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
)
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


def read_request(pairs: Iterable[tuple[bytes, bytes]]) -> Request:
    """Return the request in a header list. Raises Malformed, NotGrpc, StatusError."""
    headers = [(str(name, "latin-1"), str(value, "latin-1")) for name, value in pairs]
    _check(headers)
    named = dict(headers)
    if named[":method"] != "POST":
        raise NotGrpc(405)
    if not re.match(r"application/grpc($|[+;])", named.get("content-type", "")):
        raise NotGrpc(415)
    return Request(named[":path"], _timeout_s(named), _encoding(named), headers)


def _check(headers: Headers) -> None:
    """Raise Malformed for what RFC 9113, section 8.2 and 8.3, forbids."""
    pseudo = [name for name, _ in headers if name.startswith(":")]
    comes_first = all(name.startswith(":") for name, _ in headers[: len(pseudo)])
    is_unique = len(pseudo) == len(set(pseudo))
    if not (comes_first and is_unique and PSEUDO >= set(pseudo) >= REQUIRED):
        raise Malformed("pseudo-headers out of place")
    for name, value in headers:
        if name in OF_HTTP1 or name != name.lower() or (name == "te" and value != "trailers"):
            raise Malformed(f"a header {name!r}")


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
