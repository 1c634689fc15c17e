"""The application: FastAPI, and a way past it for the paths that generate."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from gateway.errors import Forbidden, GatewayError
from gateway.http.disconnect import ClientGone
from gateway.http.exchange import HEADERS, Exchange
from gateway.http.paths import tidied
from gateway.http.visitors import Visitors, with_cors
from gateway.openai.errors import error_response, gone_response
from gateway.openai.reference import DocumentedApp
from gateway.reception import Reception
from gateway.settings import Settings

Endpoint = Callable[[Request], Awaitable[Response]]

KEYLESS = frozenset({"/health", "/health/live", "/health/ready", "/ping"})
"""What those ask who have no key: orchestrators and load balancers."""

METRICS, ADMIN = "/metrics", "/admin/"
"""What tells of all callers, and so is for admins."""


class Application(DocumentedApp):
    """FastAPI, every request an `Exchange`; what generates is only documented by FastAPI.

    Its layers cost 50 us of every request, and 5 KiB of every open stream. They are not there for
    paths that generate, and neither is middleware: it belongs around this application.
    """

    def __init__(self, settings: Settings, reception: Reception, **options: Any) -> None:
        super().__init__(redirect_slashes=False, **options)
        self.reception = reception
        self.under_way = reception.under_way
        self._keyless = KEYLESS | ({METRICS} if settings.metrics_without_key else set())
        self._keyless_below = ""
        self._visitors = Visitors(settings)
        self._welcomed = with_cors(self._answer, settings)
        self._generating: dict[str, Endpoint] = {}

    def add_generating(self, path: str, endpoint: Endpoint, **documented: Any) -> None:
        """Answer what is posted to a path; `documented` is what FastAPI's routes take."""
        self._generating[path] = endpoint
        self.add_api_route(path, endpoint, methods=["POST"], **documented)

    def open_to_all(self, paths: Iterable[str], below: str) -> None:
        """Ask nobody for a key who reads these paths, or those below one, which ends in a slash."""
        self._keyless |= frozenset(paths)
        self._keyless_below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            exchange = Exchange(self._receive, error_response, self.reception, scope, receive, send)
            await exchange.run()
        else:
            await super().__call__(scope, receive, send)

    async def _receive(self, scope: Scope, receive: Receive, send: Send) -> None:
        if error := self._visitors.objection(scope[HEADERS]):
            await error_response(error)(scope, receive, send)
        else:
            await self._welcomed(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._admit(scope)
        except GatewayError as error:
            await error_response(error)(scope, receive, send)
            return
        endpoint = self._generating.get(scope["path"])
        if endpoint is None and tidied(scope):
            endpoint = self._generating.get(scope["path"])
        if endpoint is None or scope["method"] != "POST":
            if scope["method"] == "HEAD":  # what GET answers; the server leaves its body away
                scope = {**scope, "method": "GET"}
            await super().__call__(scope, receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, send)
        except GatewayError as error:
            await error_response(error)(scope, receive, send)
        except ClientGone:
            await gone_response()(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        """Note whose request this is. Raises Unauthorized, Forbidden."""
        path = scope["path"].rstrip("/") or "/"
        if path in self._keyless or ((below := self._keyless_below) and path.startswith(below)):
            return
        who = await self.reception.admit(scope[HEADERS])
        if (path == METRICS or path.startswith(ADMIN)) and not who.is_admin:
            raise Forbidden("This needs the key of an admin.")
