"""`gateway serve`: settings in, a serving process out, or several."""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import structlog
import uvloop

from gateway.access import Access, check_reach
from gateway.app import create_app
from gateway.blueprints import Blueprint, load_blueprint
from gateway.errors import EngineUnavailable
from gateway.keepers import Keepers
from gateway.memory import set_limits, trim
from gateway.models import Models
from gateway.operators import admin_app, admin_listener, serve_admin
from gateway.reception import Reception
from gateway.reload import ModelsSource, Reload, hurry, rereading
from gateway.rpc.server import RpcServer
from gateway.server import free_port, listen, reserved_ports, serve
from gateway.settings import ModelSettings, Settings, SettingsError
from gateway.telemetry.logs import configure_logs
from gateway.triton.contract import ContractMismatch
from gateway.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)


READY_LOOK_S = 0.2

Serves = Callable[[], None]
"""Tells whoever started this process that it serves."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a process is to serve, settled before any worker is forked."""

    settings: Settings
    access: Access
    source: ModelsSource
    blueprints: Sequence[Blueprint]
    has_admin_port: bool
    """Whether the admin port was asked for, and not only the default."""


def run(
    settings: Settings, model_settings: Sequence[ModelSettings], models_file: Path | None = None
) -> None:
    """Serve these models until a signal says stop; SIGHUP reads their file again.

    Raises SettingsError, before anything is served, for a tokenizer, a port or a Triton that
    answers but cannot be used; WorkersFailed where there are several workers. A Triton that does
    not answer yet is waited for, `wait_s` seconds long if that is set: then SettingsError.
    """
    configure_logs(settings.log_level, settings.log_format)
    set_limits()
    access = Access(settings)
    check_reach(settings, access)
    source = ModelsSource(models_file)
    is_meant = "admin_port" in settings.model_fields_set
    if settings.workers > 1:
        with reserved_ports(settings) as shared:
            _run_workers(Plan(shared, access, source, _load(shared, model_settings), is_meant))
        return
    listener = listen(settings.host, settings.port)
    grpc_port = free_port(settings.grpc_host, settings.grpc_port)
    alone = settings.model_copy(update={"grpc_port": grpc_port})
    plan = Plan(alone, access, source, _load(alone, model_settings), is_meant)
    uvloop.run(_serve(plan, listener))


def _load(settings: Settings, model_settings: Sequence[ModelSettings]) -> list[Blueprint]:
    blueprints = [load_blueprint(one, settings) for one in model_settings]
    trim()  # what loading took and let go of: 100 MiB for Llama 3
    return blueprints


def _run_workers(plan: Plan) -> None:
    """Serve with several workers, which are forks: the models are loaded, and in memory, once.

    Nothing before may have started a thread, an event loop or gRPC's core: forks would lose them.
    """
    settings = plan.settings
    log.info("sharing_ports", http=settings.port, grpc=settings.grpc_port)
    gc.freeze()  # so that no collection in a worker touches, and so copies, what all share

    def work(number: int, serves: Serves) -> None:
        configure_logs(settings.log_level, settings.log_format, worker=number)
        listener = listen(settings.host, settings.port, is_shared=True)
        uvloop.run(_serve(plan, listener, number, serves))

    Supervisor(settings.workers, work, settings.drain_s).run()


async def _serve(
    plan: Plan, listener: socket, number: int = 1, serves: Serves = lambda: None
) -> None:
    settings, models, reception = plan.settings, Models(), Reception(plan.access)
    rpc = RpcServer(settings, models, settings.grpc_port, reception)
    keepers = Keepers(models)
    try:
        await keepers.start(plan.blueprints)
    except ContractMismatch as error:
        raise SettingsError(str(error)) from error
    reload = Reload(plan.source, settings, keepers)
    app = create_app(settings, models, keepers.run(), reception)
    admin = admin_listener(settings, number, is_meant=plan.has_admin_port)

    async def alongside() -> None:
        with rereading(reload):
            if plan.source.has_changed:  # since the parent of this worker read it
                hurry(reload)
            await asyncio.gather(
                _await_ready(models, settings.wait_s, serves),
                _administer(plan, keepers, reload, admin, number),
            )

    model_settings = [blueprint.settings for blueprint in plan.blueprints]
    await serve(app, listener, settings, rpc, alongside, model_settings)


async def _await_ready(models: Models, wait_s: float, serves: Serves) -> None:
    """Tell that this serves: at once, or once models do. Raises SettingsError after `wait_s`."""
    until_s = time.monotonic() + wait_s
    while wait_s:
        try:
            await models.check_ready()
            break
        except EngineUnavailable as error:
            if time.monotonic() > until_s:
                raise SettingsError(f"gave up after {wait_s:g} s: {error.message}") from error
        await asyncio.sleep(READY_LOOK_S)
    serves()


async def _administer(
    plan: Plan, keepers: Keepers, reload: Reload, listener: socket | None, number: int
) -> None:
    """Serve the admin port, if there is one, until cancelled."""
    if not listener:
        return
    host, port = plan.settings.admin_host, listener.getsockname()[1]
    settings = plan.settings.model_copy(update={"host": host, "port": port})
    app = admin_app(settings, Reception(plan.access), keepers, reload, number)
    await serve_admin(app, listener, settings)
