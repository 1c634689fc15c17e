"""The two servers that can answer gRPC: our own, and grpc.aio's. Knows no service."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import grpc.aio

from gateway.http2.server.limits import Limits
from gateway.http2.server.server import Server
from gateway.rpc.tls import certificates, grpc_credentials, ssl_context
from gateway.settings import Settings
from gateway.telemetry.metrics import READERS_CUT_OFF

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


class RunningServer(Protocol):
    """What either server can do; `add_..._to_server` of generated code needs more."""

    async def start(self) -> None:
        """Listen and answer."""

    async def stop(self, grace: float | None) -> None:
        """Take no new calls, and let running ones finish for so many seconds."""


def server_maker(settings: Settings, port: int) -> Callable[[], RunningServer]:
    """Return what makes the server that the settings name, in a running loop.

    Raises SettingsError at once for certificates that cannot be used.
    """
    return (_http2 if settings.grpc_server == "http2" else _grpc_aio)(settings, port)


def address(settings: Settings, port: int) -> str:
    """Return HOST:PORT."""
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    return f"{host}:{port}"


def _http2(settings: Settings, port: int) -> Callable[[], RunningServer]:
    tls = ssl_context(certificates(settings))
    limits = Limits(
        settings.max_body_bytes,
        settings.body_timeout_s,
        settings.request_timeout_s or math.inf,
        settings.grpc_max_connections,
        READERS_CUT_OFF.labels("deadline").inc,
    )
    return lambda: Server(settings.grpc_host, port, limits, tls)


def _grpc_aio(settings: Settings, port: int) -> Callable[[], RunningServer]:
    credentials = grpc_credentials(certificates(settings))

    def make() -> Any:
        options = (*TRANSPORT, ("grpc.max_receive_message_length", settings.max_body_bytes))
        server = grpc.aio.server(options=options)
        if credentials:
            server.add_secure_port(address(settings, port), credentials)
        else:
            server.add_insecure_port(address(settings, port))
        return server

    return make
