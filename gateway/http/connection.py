"""HTTP/1 on one connection: uvicorn's protocol, held to bounds of size, time and number.

A refusal made here is written in the form that is handed in. What a request says is not judged.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import httptools
import structlog
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway.errors import (
    GatewayError,
    HeadersTooLarge,
    InvalidRequest,
    RequestTimeout,
    TargetTooLong,
    TooManyConnections,
    UnsupportedVersion,
)
from gateway.http.crowd import EXTRA_CONNECTIONS, Crowd
from gateway.http.forwarded import Proxies
from gateway.http.until_closed import until_closed
from gateway.origin import REQUEST_ID, new_id
from gateway.settings import Settings
from gateway.telemetry.metrics import READERS_CUT_OFF

log = structlog.get_logger(__name__)

Refusal = Callable[[GatewayError], Response]
"""Returns a failure in the form that callers read."""

RETRY_AFTER_S = 1.0
LINGER_S = 2.0
LINGER_BYTES = 4 * 2**20
"""How long, and how much of, what a refused client still sends is read: closing on unread bytes
resets the connection, and the client would not see its answer."""

HINTS = {
    "unread": "GATEWAY_SEND_TIMEOUT_S bounds how long",
    "deadline": "GATEWAY_REQUEST_TIMEOUT_S bounds how long",
}
OFFER = (b"upgrade", b"http2-settings")
NOTED = frozenset({b"host", b"expect"})


class Connection(HttpToolsProtocol):
    """One client's connection. Offers to speak another protocol are ignored (RFC 9110, 7.8)."""

    def __init__(
        self,
        settings: Settings,
        crowd: Crowd,
        proxies: Proxies,
        refusal: Refusal,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._settings, self._crowd, self._refusal = settings, crowd, refusal
        self._proxies = proxies
        self._proxy = ""  # the other end, where that is a trusted proxy
        self._max_headers = settings.max_headers
        self._in_head = True
        self._has_begun = False  # of a head, something has come
        self._is_refused = False
        self._num_hosts = 0
        self._address = ""  # as whose the connection is counted, if anybody's
        self._unread = 0  # bytes since the last that meant something: a head, part of a body
        self._began_s = 0.0
        self._error: GatewayError | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        if self._proxies.trusts(address):
            self._proxy = address
        else:
            self._count_as(address)
        if len(self.connections) > self._crowd.limit + EXTRA_CONNECTIONS or (
            self._crowd.has_many_from(self._address, EXTRA_CONNECTIONS)
        ):
            self._crowd.turn_away()
            transport.abort()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._count_as("")
        self._cancel_alarm()
        self._cancel_stall()

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        if self._is_refused:
            if self._unread > LINGER_BYTES:
                self.transport.abort()
            return
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(self._error or InvalidRequest("This is not HTTP.", code="invalid_http"))
            return
        if self._unread > self._settings.max_header_bytes:
            self._refuse(self._headers_too_large())
        elif self.cycle is None or self.cycle.response_complete:
            self._expect_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        seconds, reason = self._patience()
        self._stall = self.loop.call_later(seconds, self._cut_off, reason)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_stall()

    # What the parser calls.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._has_begun = True
        self._num_hosts = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self._settings.max_target_bytes:
            raise self._fail(
                TargetTooLong(
                    f"The path and query are longer than {self._settings.max_target_bytes} bytes."
                )
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in NOTED:
            self._note(name, value)
        headers = self.headers
        if len(headers) == self._max_headers:
            raise self._fail(self._headers_too_large())
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # read again without the offer
        self._in_head = self._has_begun = False
        self._cancel_alarm()
        if self._proxy:
            self._believe_proxy()
        if error := self._objection():
            raise self._fail(error)
        self._unread = 0
        self._began_s = self.loop.time()
        super().on_headers_complete()
        self.headers = []  # for trailers, which nobody asked for

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._in_head:
            self._in_head = True
            self._unread = 0
            super().on_message_complete()

    # What an answer calls at its end.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._proxy and self.cycle.response_complete:
            self._count_as("")
        if self._has_begun:
            self._expect_head()

    # Whose it is.

    def _count_as(self, address: str) -> None:
        if self._address:
            self._crowd.leave(self._address)
        self._address = address
        if address:
            self._crowd.enter(address)

    def _believe_proxy(self) -> None:
        """Take a request for that of whom the proxy asks for; it counts as theirs until it has
        been answered."""
        client = self._proxies.client(self._proxy, self.headers)
        self._count_as(client.address)
        self.scope["client"] = (client.address, 0)
        if client.scheme:
            self.scope["scheme"] = client.scheme

    # Heads.

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._num_hosts += 1
        else:
            self.expect_100_continue = value.lower() == b"100-continue"

    def _objection(self) -> GatewayError | None:
        """Return what is wrong with a head, if anything."""
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            if version < "1":
                return InvalidRequest(f"HTTP/{version} is not spoken here.", code="invalid_http")
            return UnsupportedVersion(f"HTTP/{version} is not spoken on this port, HTTP/1.1 is.")
        if self._num_hosts != 1 and (self._num_hosts or version == "1.1"):
            # RFC 9112, 3.2
            return InvalidRequest(
                f"The request has {self._num_hosts} Host headers instead of one.",
                code="invalid_http",
            )
        if self._unread > self._settings.max_header_bytes and self._is_head_too_large():
            return self._headers_too_large()
        if len(self.connections) > self._crowd.limit or self._crowd.has_many_from(self._address):
            self._crowd.turn_away()
            return TooManyConnections(
                "As many connections are open as may be.", retry_after_s=RETRY_AFTER_S
            )
        return None

    def _is_head_too_large(self) -> bool:
        size = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size + len(self.url) > self._settings.max_header_bytes

    def _headers_too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(
            f"The headers are more than {self._settings.max_headers}, or more than "
            f"{self._settings.max_header_bytes} bytes."
        )

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                if self.parser.get_method() == b"CONNECT":
                    raise httptools.HttpParserError from offer
                data = self._without_offer() + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)

    def _without_offer(self) -> bytes:
        """Return the head again, less what offers another protocol: the parser skips the body
        of a request that does."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version.encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(_without(value.split(b","), OFFER))
            if name not in OFFER:
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = partial(until_closed, app, cycle)
        super()._start_asgi_task(cycle, app)

    # Time.

    def _expect_head(self) -> None:
        if self._alarm is None:
            self._alarm = self.loop.call_later(self._settings.header_timeout_s, self._on_slow_head)

    def _on_slow_head(self) -> None:
        self._alarm = None
        if self._has_begun:
            seconds = self._settings.header_timeout_s
            self._refuse(
                RequestTimeout(f"The request's headers did not arrive within {seconds:g} seconds.")
            )
        else:
            self.transport.close()

    def _patience(self) -> tuple[float, str]:
        """Return for how many seconds the client may leave unread what is there for it, and why
        not longer."""
        patience_s = self._settings.send_timeout_s
        if self._settings.request_timeout_s:
            left_s = self._began_s + self._settings.request_timeout_s - self.loop.time()
            if left_s < patience_s:
                return max(0.0, left_s), "deadline"
        return patience_s, "unread"

    def _cut_off(self, reason: str) -> None:
        READERS_CUT_OFF.labels(reason).inc()
        log.info("reader_stood_still", reason=reason, hint=HINTS[reason])
        self.transport.abort()

    def _cancel_alarm(self) -> None:
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None

    def _cancel_stall(self) -> None:
        if self._stall:
            self._stall.cancel()
            self._stall = None

    # Refusals.

    def _fail(self, error: GatewayError) -> GatewayError:
        """Note why the parser stops: what it raises does not say."""
        self._error = error
        return error

    def _refuse(self, error: GatewayError) -> None:
        """Read no further request; tell why, unless an answer is under way already."""
        self._is_refused = True
        self._unread = 0
        self._cancel_alarm()
        log.info("request_refused", status=error.status, code=error.code)
        if self.cycle and not self.cycle.response_complete:
            if self._may_finish():
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(self._rendered(error))
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _may_finish(self) -> bool:
        """Tell whether the request before the refused one was whole: its answer is to come."""
        return self._in_head or not self.cycle.more_body or self.cycle.response_started

    def _rendered(self, error: GatewayError) -> bytes:
        response = self._refusal(error)
        headers = {
            **dict(self.server_state.default_headers),
            **dict(response.raw_headers),
            REQUEST_ID.encode(): new_id().encode(),
            b"connection": b"close",
        }
        lines = [name + b": " + value + b"\r\n" for name, value in headers.items()]
        return b"".join([STATUS_LINE[error.status], *lines, b"\r\n", bytes(response.body)])


def _without(tokens: list[bytes], unwanted: tuple[bytes, ...]) -> list[bytes]:
    return [token.strip() for token in tokens if token.strip().lower() not in unwanted]
