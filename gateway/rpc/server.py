"""The gRPC server: its services, how it starts and drains."""

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha.reflection import SERVICE_NAME
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from gateway.hosts import is_loopback
from gateway.models import Models
from gateway.reception import Reception
from gateway.rpc.chat import ChatService
from gateway.rpc.completions import CompletionService
from gateway.rpc.health import Health
from gateway.rpc.models import ModelService
from gateway.rpc.reflection import Reflection
from gateway.rpc.servers import address, server_maker
from gateway.rpc.tokens import TokenizeService
from gateway.rpc.unparsed import Unparsed
from gateway.settings import Settings
from gateway.v1 import chat_pb2, completion_pb2, model_pb2, tokenize_pb2
from gateway.v1.chat_pb2_grpc import add_ChatServiceServicer_to_server
from gateway.v1.completion_pb2_grpc import add_CompletionServiceServicer_to_server
from gateway.v1.model_pb2_grpc import add_ModelServiceServicer_to_server
from gateway.v1.tokenize_pb2_grpc import add_TokenizeServiceServicer_to_server

SERVICES = [
    service.full_name
    for file in (chat_pb2, completion_pb2, model_pb2, tokenize_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]


class RpcServer:
    """The gateway's services on one port, which must be free; see `server.listen`."""

    def __init__(
        self, settings: Settings, models: Models, port: int, reception: Reception | None = None
    ) -> None:
        self._settings = settings
        self._health = Health(models, SERVICES)
        self._make_server = server_maker(settings, port)
        self._models = models
        self._reception = reception or Reception.of(settings)
        self._server: Any = None
        self._following: asyncio.Future[None] | None = None
        self.address = address(settings, port)

    async def start(self) -> None:
        """Listen and answer; NOT_SERVING until the models are ready."""
        self._server = self._make_server()
        self._register()
        await self._server.start()
        self._following = asyncio.ensure_future(self._health.follow())

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, send GOAWAY, and let running ones finish for so many seconds."""
        self._health.drain()
        if self._following:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._server:
            await self._server.stop(grace_s)

    def _register(self) -> None:
        server, settings, models = self._server, self._settings, self._models
        reception, unparsed = self._reception, Unparsed(server)
        add_ChatServiceServicer_to_server(ChatService(settings, models, reception), unparsed)
        completions = CompletionService(settings, models, reception)
        add_CompletionServiceServicer_to_server(completions, unparsed)
        add_TokenizeServiceServicer_to_server(TokenizeService(models, reception), unparsed)
        add_ModelServiceServicer_to_server(ModelService(models, reception), server)
        add_HealthServicer_to_server(self._health, server)
        if not tells_methods(settings):
            return
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        names = [*SERVICES, health, SERVICE_NAME]
        add_ServerReflectionServicer_to_server(Reflection(names, reception), server)


def tells_methods(settings: Settings) -> bool:
    """Tell whether the server answers those who ask what its methods are."""
    if settings.grpc_reflection == "auto":
        return is_loopback(settings.grpc_host)
    return settings.grpc_reflection == "on"
