"""`gateway serve`: settings in, a serving process out, or several."""

import gc
from collections.abc import Awaitable, Callable, Sequence
from socket import socket

import structlog
import uvloop

from gateway.access import Access, check_reach
from gateway.app import create_app
from gateway.blueprints import Blueprint, load_blueprint
from gateway.keeper import run_keepers, start_keepers
from gateway.memory import set_limits, trim
from gateway.models import Models
from gateway.reception import Reception
from gateway.rpc.server import RpcServer
from gateway.server import free_port, listen, reserved_ports, serve
from gateway.settings import ModelSettings, Settings, SettingsError
from gateway.telemetry.logs import configure_logs
from gateway.triton.contract import ContractMismatch
from gateway.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)


def run(settings: Settings, model_settings: Sequence[ModelSettings]) -> None:
    """Serve these models until a signal says stop.

    Raises SettingsError, before anything is served, for a tokenizer, a port or a Triton that
    answers but cannot be used; WorkersFailed where there are several workers. A Triton that does
    not answer yet is waited for.
    """
    configure_logs(settings.log_level, settings.log_format)
    set_limits()
    access = Access(settings)
    check_reach(settings, access)
    if settings.workers > 1:
        with reserved_ports(settings) as shared:
            _run_workers(shared, access, _load(shared, model_settings))
        return
    listener = listen(settings.host, settings.port)
    grpc_port = free_port(settings.grpc_host, settings.grpc_port)
    alone = settings.model_copy(update={"grpc_port": grpc_port})
    uvloop.run(_serve(alone, access, _load(alone, model_settings), listener))


def _load(settings: Settings, model_settings: Sequence[ModelSettings]) -> list[Blueprint]:
    blueprints = [load_blueprint(one, settings) for one in model_settings]
    trim()  # what loading took and let go of: 100 MiB for Llama 3
    return blueprints


def _run_workers(settings: Settings, access: Access, blueprints: Sequence[Blueprint]) -> None:
    """Serve with several workers, which are forks: the models are loaded, and in memory, once.

    Nothing before may have started a thread, an event loop or gRPC's core: forks would lose them.
    """
    log.info("sharing_ports", http=settings.port, grpc=settings.grpc_port)
    gc.freeze()  # so that no collection in a worker touches, and so copies, what all share

    def work(number: int, serves: Callable[[], None]) -> None:
        configure_logs(settings.log_level, settings.log_format, worker=number)
        listener = listen(settings.host, settings.port, is_shared=True)

        async def tell() -> None:
            serves()

        uvloop.run(_serve(settings, access, blueprints, listener, tell))

    Supervisor(settings.workers, work, settings.drain_s).run()


async def _serve(
    settings: Settings,
    access: Access,
    blueprints: Sequence[Blueprint],
    listener: socket,
    alongside: Callable[[], Awaitable[None]] | None = None,
) -> None:
    models = Models()
    reception = Reception(access)
    rpc = RpcServer(settings, models, settings.grpc_port, reception)
    try:
        keepers = await start_keepers(models, blueprints)
    except ContractMismatch as error:
        raise SettingsError(str(error)) from error
    app = create_app(settings, models, run_keepers(keepers), reception)
    model_settings = [blueprint.settings for blueprint in blueprints]
    await serve(app, listener, settings, rpc, alongside, model_settings)
