"""The application: FastAPI, and a way past it for the paths that generate."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from gateway.errors import GatewayError
from gateway.http.disconnect import ClientGone
from gateway.http.exchange import Exchange
from gateway.openai.errors import error_response, gone_response
from gateway.openai.reference import DocumentedApp

Endpoint = Callable[[Request], Awaitable[Response]]


class Application(DocumentedApp):
    """FastAPI, every request an `Exchange`; what generates is only documented by FastAPI.

    Its layers cost 50 us of every request, and 5 KiB of every open stream. They are not there for
    paths that generate, and neither is middleware: it belongs around this application.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._generating: dict[str, Endpoint] = {}

    def add_generating(self, path: str, endpoint: Endpoint, **documented: Any) -> None:
        """Answer what is posted to a path; `documented` is what FastAPI's routes take."""
        self._generating[path] = endpoint
        self.add_api_route(path, endpoint, methods=["POST"], **documented)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await Exchange(self._answer, error_response, scope, receive, send).run()
        else:
            await super().__call__(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._generating.get(scope["path"])
        if endpoint is None or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive))
        except GatewayError as error:
            response = error_response(error)
        except ClientGone:
            response = gone_response()
        await response(scope, receive, send)
