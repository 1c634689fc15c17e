"""An HTTP client that costs little: it reads answers to their end, and looks only at the end.

It shares the cores with what is measured. Events are counted as they pass; the tokens are those
that the answer's usage tells, for a chunk may carry several. Knows no load.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

TIMEOUT_S = 120
TAIL_BYTES = 2048
"""Enough of an answer's end for its usage and what follows it."""

EVENT = b"data: "
DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
NO_LENGTH = -1

OnEvents = Callable[[float, float], None]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TOKENS = re.compile(rb'"completion_tokens": *(\d+)')


@dataclass(frozen=True)
class Answer:
    """One answer, read to its end; times by the monotonic clock, of events alone."""

    sent_at: float
    first_at: float
    last_at: float
    events: int
    tokens: int


def address(url: str) -> tuple[str, int]:
    """Return host and port of an http URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def post(url: str, body: bytes) -> bytes:
    """Return a request for a chat."""
    host, port = address(url)
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def tokens_in(tail: bytes) -> int:
    """Return the tokens that the end of an answer tells. Raises ConnectionError without usage."""
    told = _TOKENS.findall(tail)
    if not told:
        raise ConnectionError("the answer has no usage at its end")
    return int(told[-1])


def _ignore(_: float, __: float) -> None:
    pass


class Connection(asyncio.Protocol):
    """An open connection, for one request at a time.

    `on_events` is told when events came: when the ones before did, 0 for the first, and now.
    """

    def __init__(self, on_events: OnEvents = _ignore) -> None:
        self._on_events = on_events
        self._transport: asyncio.Transport | None = None
        self._tail: bytes
        self._ended: asyncio.Future[None] | None = None
        self._reset()

    @classmethod
    async def open(cls, url: str, on_events: OnEvents = _ignore) -> "Connection":
        """Connect to the server of a URL."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(on_events), *address(url))
        return connection

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer. Raises ConnectionError if it is not whole."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the server closed the connection")
        self._reset()
        self._ended = asyncio.get_running_loop().create_future()
        sent_at = time.monotonic()
        self._transport.write(request)
        await asyncio.wait_for(self._ended, TIMEOUT_S)
        if self._events and DONE not in self._tail:
            raise ConnectionError("the stream was cut short")
        tokens = tokens_in(self._tail)
        return Answer(sent_at, self._first_at, self._last_at, self._events, tokens)

    def close(self) -> None:
        """Close the connection."""
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._left is None:
            self._take_head(data)
        else:
            self._left -= len(data)
        if events := data.count(EVENT):
            self._note(events, time.monotonic())
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        if self._left == 0 or self._tail.endswith(LAST_CHUNK):
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(ConnectionError(f"the connection was lost: {exc or 'closed'}"))

    def _reset(self) -> None:
        self._first_at = self._last_at = 0.0
        self._events, self._tail = 0, b""
        self._left: int | None = None

    def _take_head(self, data: bytes) -> None:
        """Note how long the answer is; servers send its head in one piece."""
        head, _, rest = data.partition(b"\r\n\r\n")
        if b" 200 " not in head[:16]:
            self._end(ConnectionError(str(data[:300], "latin-1")))
        length = _LENGTH.search(head)
        self._left = int(length[1]) - len(rest) if length else NO_LENGTH

    def _note(self, events: int, now: float) -> None:
        self._on_events(self._last_at, now)
        self._events += events
        self._first_at = self._first_at or now
        self._last_at = now

    def _end(self, error: ConnectionError | None = None) -> None:
        if self._ended is None or self._ended.done():
            return
        if error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)
