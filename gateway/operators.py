"""What operators see and do, on a port of its own: replicas, draining, reading the models again."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import orjson
import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from gateway.app import create_bare_app
from gateway.errors import InvalidRequest, NotFound
from gateway.http.server import HttpServer, http_config
from gateway.keeper import Keeper
from gateway.keepers import Keepers
from gateway.openai.application import Application
from gateway.openai.bodies import read_body
from gateway.openai.errors import error_response
from gateway.openai.shapes import JsonObject
from gateway.reception import Reception
from gateway.reload import Reload
from gateway.server import listen
from gateway.settings import Settings, SettingsError
from gateway.traffic.size import MAX_WORD
from gateway.triton.replica import Replica

log = structlog.get_logger(__name__)

Named = Annotated[str, Field(max_length=MAX_WORD)]


class DrainRequest(BaseModel):
    """Which replica: its address, and of which model if not of all."""

    address: Named
    model: Named | None = None


def admin_app(
    settings: Settings, reception: Reception, keepers: Keepers, reload: Reload, worker: int
) -> Application:
    """Return the application of the admin port of one worker, counted from 1."""
    app = create_bare_app(settings, reception)
    app.include_router(_routes(settings, keepers, reload, worker), prefix="/admin")
    return app


def _routes(settings: Settings, keepers: Keepers, reload: Reload, worker: int) -> APIRouter:
    router = APIRouter()

    @router.get("/replicas")
    async def replicas() -> Response:
        models = [told(keeper) for keeper in keepers.all]
        return _json({"worker": worker, "workers": settings.workers, "models": models})

    @router.post("/drain")
    async def drain(request: Request) -> Response:
        return await _set_drained(request, settings, keepers, is_drained=True)

    @router.post("/undrain")
    async def undrain(request: Request) -> Response:
        return await _set_drained(request, settings, keepers, is_drained=False)

    @router.post("/reload")
    async def read_again() -> Response:
        try:
            changes = await reload.run()
        except SettingsError as error:
            raise InvalidRequest(f"Nothing was changed: {error}") from error
        return _json(asdict(changes))

    return router


async def _set_drained(
    request: Request, settings: Settings, keepers: Keepers, *, is_drained: bool
) -> Response:
    def understand(body: DrainRequest) -> DrainRequest:
        return body

    asked = await read_body(request, DrainRequest, settings, understand)
    found = list(_named(keepers, asked))
    if not found:
        raise NotFound(f"No model has a replica at {asked.address!r}.", param="address")
    for model, replica in found:
        replica.drain(is_drained)
        log.info(
            "replica_drained" if is_drained else "replica_undrained",
            model=model,
            triton=replica.channel.address,
        )
    return _json({"models": [model for model, _ in found]})


def _named(keepers: Keepers, asked: DrainRequest) -> Iterator[tuple[str, Replica]]:
    for keeper in keepers.all:
        id = keeper.blueprint.settings.id
        for replica in keeper.replicas.members:
            if replica.channel.address == asked.address and asked.model in (None, id):
                yield id, replica


def told(keeper: Keeper) -> JsonObject:
    """Return what is to be told of a model and its replicas."""
    replicas, settings = keeper.replicas, keeper.blueprint.settings
    has_contract = any(one.contract for one in replicas.members)
    return {
        "id": settings.id,
        "policy": settings.triton.policy,
        "max_model_len": replicas.max_model_len if has_contract else None,
        "features": sorted(one.name.lower() for one in replicas.features) if has_contract else [],
        "replicas": [asdict(view) for view in replicas.views()],
    }


class AdminServer(HttpServer):
    """The server of the admin port, which leaves the signals to the one beside it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def admin_listener(settings: Settings, number: int, *, is_meant: bool) -> socket.socket | None:
    """Return the socket of a worker's admin port, None where there is none to be.

    Raises SettingsError for a port that was asked for and is taken; one that is only the default
    is done without.
    """
    if not settings.admin_port:
        return None
    port = settings.admin_port + number - 1
    try:
        return listen(settings.admin_host, port)
    except SettingsError as error:
        if is_meant:
            raise
        log.warning("no_admin_port", problem=str(error), hint="set GATEWAY_ADMIN_PORT; 0 is none")
        return None


async def serve_admin(app: Application, listener: socket.socket, settings: Settings) -> None:
    """Serve the admin port until cancelled."""

    async def no_others(_: float) -> None:
        """Stop nothing else."""

    server = AdminServer(http_config(app, settings, error_response), app.under_way, 0, no_others)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = server.force_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        listener.close()


def _json(content: JsonObject) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
