"""A gateway process whose engine says `Hi` and, asked for `hang` in its prompt, then nothing more.

Prints its addresses as JSON once it serves, and a line for each answer that hangs. Settings come
from the environment.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator

import uvloop

from gateway.app import create_app
from gateway.generation import Generation, Item
from gateway.models import Models
from gateway.reception import Reception
from gateway.rpc.server import RpcServer
from gateway.server import free_port, listen, serve, url_of
from gateway.settings import Settings
from gateway.telemetry.logs import configure_logs
from tests.fakes import FakeEngine, stop, text, tiny_model


class HangingEngine(FakeEngine):
    """Hangs where the prompt says so."""

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        prompt = bytes(token for token in generation.prompt.token_ids if token < 256)
        if b"hang" not in prompt:
            async for item in super().generate(generation):
                yield item
            return
        yield text("Hi")
        print("hangs", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until a signal says stop."""
    settings = Settings()
    configure_logs(settings.log_level, settings.log_format)
    models = Models([tiny_model(HangingEngine([text("Hi"), stop()]))])
    reception = Reception.of(settings)
    grpc_port = free_port(settings.grpc_host, settings.grpc_port)
    rpc = RpcServer(settings, models, grpc_port, reception)
    listener = listen(settings.host, settings.port)
    app = create_app(settings, models, reception=reception)

    async def announce() -> None:
        while not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        print(json.dumps([url_of(listener), rpc.address]), flush=True)

    uvloop.run(serve(app, listener, settings, rpc, announce))


if __name__ == "__main__":
    main()
