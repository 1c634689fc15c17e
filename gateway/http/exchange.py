"""Around every request: its id, its log line, and the last resort when something is a bug."""

import asyncio
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import GatewayError
from gateway.origin import REQUEST_ID, arrive
from gateway.reception import Reception
from gateway.under_way import stopping

log = structlog.get_logger(__name__)

ErrorResponse = Callable[[GatewayError], ASGIApp]
"""Writes a failure in the form that a path's callers read."""

HEADERS = "gateway.headers"
"""Where in a request's scope its headers are by name, as text."""

SERVER_SEND = "gateway.server_send"
"""Where in a request's scope the server's own `send` is, without the layers above it."""


class Exchange:
    """One request and its response.

    Puts `x-request-id` on the response and in every log line; takes the client's if sane. An
    exception nobody expected is logged with its traceback and answered with a fixed message.
    """

    __slots__ = (
        "_app",
        "_error_response",
        "_id",
        "_receive",
        "_scope",
        "_send",
        "_status",
        "_under_way",
        "_visit",
    )

    def __init__(
        self,
        app: ASGIApp,
        error_response: ErrorResponse,
        reception: Reception,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        headers = {str(name, "latin-1"): str(value, "latin-1") for name, value in scope["headers"]}
        self._id = arrive(headers)
        scope[HEADERS], scope[SERVER_SEND] = headers, send
        self._app, self._error_response = app, error_response
        self._under_way = reception.under_way
        self._visit = reception.begin(self._id)
        self._scope, self._receive, self._send = scope, receive, send
        self._status: int | None = None

    async def run(self) -> None:
        started = time.perf_counter()
        self._under_way.enter()
        try:
            await self._app(self._scope, self._receive, self._on_send)
        except Exception:
            log.exception("request_failed")
            await self._answer(GatewayError("The server failed to handle this request."))
        except asyncio.CancelledError:
            if not self._under_way.is_over:
                raise
            await self._answer(stopping())
        finally:
            self._under_way.leave()
            self._visit.close()
            self._log(time.perf_counter() - started)

    async def _on_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._id
            if told := self._visit.headers:
                headers.raw.extend((name.encode(), value.encode()) for name, value in told)
        await self._send(message)

    async def _answer(self, error: GatewayError) -> None:
        if self._status is None:
            await self._error_response(error)(self._scope, self._receive, self._on_send)

    def _log(self, duration_s: float) -> None:
        log.info(
            "request",
            client=client[0] if (client := self._scope.get("client")) else "",
            method=self._scope["method"],
            path=self._scope["path"],
            status=self._status,
            duration_ms=round(duration_s * 1000, 1),
        )
