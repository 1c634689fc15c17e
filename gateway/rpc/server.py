"""The gRPC server: its services, its transport's limits, how it starts and drains."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_channelz.v1.channelz import add_channelz_servicer
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from gateway.models import Models
from gateway.rpc.chat import ChatService
from gateway.rpc.completions import CompletionService
from gateway.rpc.health import Health
from gateway.rpc.models import ModelService
from gateway.rpc.tokens import TokenizeService
from gateway.settings import Settings, SettingsError
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

SECOND_MS = 1000
TRANSPORT = (
    # Several processes may listen on one port; the kernel spreads connections over them.
    ("grpc.so_reuseport", 1),
    ("grpc.max_send_message_length", -1),
    # A client that is gone without a word is noticed, and what it asked for cancelled.
    ("grpc.keepalive_time_ms", 60 * SECOND_MS),
    ("grpc.keepalive_timeout_ms", 20 * SECOND_MS),
    # Clients may ping as often as every 10 s, idle ones too, without being sent away.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10 * SECOND_MS),
)


class RpcServer:
    """The gateway's services on one port, which must be free; see `server.listen`."""

    def __init__(self, settings: Settings, models: Models, port: int) -> None:
        self._settings = settings
        self._health = Health(models, SERVICES)
        self._credentials = _credentials(settings)
        self._models = models
        self._server: Any = None
        self._following: asyncio.Future[None] | None = None
        host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
        self.address = f"{host}:{port}"

    async def start(self) -> None:
        """Listen and answer; NOT_SERVING until the models are ready."""
        options = (*TRANSPORT, ("grpc.max_receive_message_length", self._settings.max_body_bytes))
        self._server = grpc.aio.server(options=options)
        self._register()
        if self._credentials:
            self._server.add_secure_port(self.address, self._credentials)
        else:
            self._server.add_insecure_port(self.address)
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
        add_ChatServiceServicer_to_server(ChatService(settings, models), server)
        add_CompletionServiceServicer_to_server(CompletionService(settings, models), server)
        add_ModelServiceServicer_to_server(ModelService(models), server)
        add_TokenizeServiceServicer_to_server(TokenizeService(models), server)
        add_HealthServicer_to_server(self._health, server)
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection([*SERVICES, health, reflection.SERVICE_NAME], server)
        if settings.grpc_channelz:
            add_channelz_servicer(server)


def _credentials(settings: Settings) -> Any:
    """Return what TLS needs, or None without it. Raises SettingsError."""
    certificate, key = settings.grpc_tls_cert, settings.grpc_tls_key
    if certificate is None and key is None and settings.grpc_tls_client_ca is None:
        return None
    if certificate is None or key is None:
        raise SettingsError("GATEWAY_GRPC_TLS_CERT and GATEWAY_GRPC_TLS_KEY go together")
    client_ca = settings.grpc_tls_client_ca and _read(settings.grpc_tls_client_ca)
    return grpc.ssl_server_credentials(
        [(_read(key), _read(certificate))],
        root_certificates=client_ca,
        require_client_auth=client_ca is not None,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
