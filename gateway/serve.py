"""`gateway serve`: settings in, a serving process out."""

from collections.abc import Sequence

import uvloop

from gateway.app import create_app
from gateway.connect import connect_at_once, connect_models, load_blueprint
from gateway.models import Models
from gateway.rpc.server import RpcServer
from gateway.server import free_port, listen, serve
from gateway.settings import ModelSettings, Settings, SettingsError
from gateway.telemetry.logs import configure_logs
from gateway.triton.contract import ContractMismatch


def run(settings: Settings, model_settings: Sequence[ModelSettings]) -> None:
    """Serve these models until a signal says stop.

    Raises SettingsError, before anything is served, for a tokenizer, a port or a Triton that
    answers but cannot be used. A Triton that does not answer yet is waited for.
    """
    configure_logs(settings.log_level, settings.log_format)
    blueprints = [load_blueprint(one, settings) for one in model_settings]
    listener = listen(settings.host, settings.port)
    grpc_port = free_port(settings.grpc_host, settings.grpc_port)
    models = Models()
    rpc = RpcServer(settings, models, grpc_port)

    async def main() -> None:
        try:
            waiting = await connect_at_once(models, blueprints)
        except ContractMismatch as error:
            raise SettingsError(str(error)) from error
        app = create_app(settings, models, connect_models(models, waiting))
        await serve(app, listener, settings, rpc)

    uvloop.run(main())
