"""The application: what happens at start and stop, around every request, and on which path."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from gateway import __version__
from gateway.admin import admin_routes
from gateway.errors import GatewayError
from gateway.health import health_routes
from gateway.http.disconnect import ClientGone
from gateway.models import Models
from gateway.openai.application import Application
from gateway.openai.errors import on_client_gone, on_gateway_error, on_http_exception
from gateway.openai.routes import add_openai_routes
from gateway.reception import Reception
from gateway.settings import Settings
from gateway.telemetry.metrics import metrics_routes
from gateway.web.pages import OPEN_FOLDER, OPEN_PATHS, web_routes


def create_app(
    settings: Settings,
    models: Models,
    connect: Coroutine[Any, Any, None] | None = None,
    reception: Reception | None = None,
) -> Application:
    """Return the gateway as an ASGI application that serves `models`.

    `connect` runs in the background from start to stop and fills `models`. Raises SettingsError
    for keys that cannot be read, where no `reception` is given that has.
    """
    reception = reception or Reception.of(settings)
    app = create_bare_app(
        settings,
        reception,
        lifespan=_lifespan(connect),
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    add_openai_routes(app, settings, models)
    app.include_router(health_routes(models))
    app.include_router(admin_routes(reception))
    app.include_router(metrics_routes(settings.workers))
    app.include_router(web_routes())
    app.open_to_all(OPEN_PATHS, OPEN_FOLDER)
    return app


def create_bare_app(settings: Settings, reception: Reception, **options: Any) -> Application:
    """Return an application without routes, which lets in and refuses as the gateway does."""
    title, told = "Triton OpenAI gateway", {"openapi_url": None, **options}
    app = Application(settings, reception, title=title, version=__version__, **told)
    app.add_exception_handler(GatewayError, on_gateway_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(ClientGone, on_client_gone)
    return app


def _lifespan(connect: Coroutine[Any, Any, None] | None) -> Any:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.ensure_future(connect) if connect else None
        yield
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return lifespan
