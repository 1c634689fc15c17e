"""One server process: HTTP and gRPC, each on its port, until a signal says stop."""

import asyncio
import errno
import gc
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager

from gateway.http.crowd import watch_open_files
from gateway.http.server import HttpServer, http_config
from gateway.http.tls import use_tls
from gateway.memory import keep_trimmed
from gateway.openai.application import Application
from gateway.openai.errors import error_response
from gateway.rpc.server import RpcServer
from gateway.settings import ModelSettings, Settings, SettingsError
from gateway.telemetry.answers import keep_counting

GC_THRESHOLD = 5000
"""New objects between two looks for garbage. Python's 700 cost 4 % of every whole answer: most
of them are still in use."""


def listen(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Return a socket bound to host:port; port 0 takes a free one. Raises SettingsError.

    Over those that share a port and listen, the kernel spreads connections.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:  # a name may be none that IDNA can write
        listener.close()
        raise SettingsError(_unbound(host, port, error)) from error
    return listener


def _unbound(host: str, port: int, error: OSError | UnicodeError) -> str:
    reason = getattr(error, "strerror", None) or error
    is_ports = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
    advice = "port with --http-port or --grpc-port" if is_ports else "address with --host"
    return f"cannot listen on {host}:{port} ({reason}): choose another {advice}"


def free_port(host: str, port: int) -> int:
    """Return `port`, or a free one for 0. Raises SettingsError where somebody listens on it.

    gRPC shares its port with other processes of this gateway, so it would not notice.
    """
    with listen(host, port) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def reserved_ports(settings: Settings) -> Iterator[Settings]:
    """Keep both ports for the workers of this gateway; yield settings that name them.

    Raises SettingsError where somebody else listens on one of them.
    """
    with (
        _reserve(settings.host, settings.port) as http,
        _reserve(settings.grpc_host, settings.grpc_port) as grpc,
    ):
        ports = {"port": http.getsockname()[1], "grpc_port": grpc.getsockname()[1]}
        yield settings.model_copy(update=ports)


def _reserve(host: str, port: int) -> socket.socket:
    return listen(host, free_port(host, port), is_shared=True)


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return the base URL that clients of the socket use."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def serve(
    app: Application,
    listener: socket.socket,
    settings: Settings,
    rpc: RpcServer,
    alongside: Callable[[], Awaitable[None]] | None = None,
    models: Sequence[ModelSettings] = (),
) -> None:
    """Serve until SIGINT or SIGTERM, then let running answers finish for `drain_s` seconds.

    `alongside` runs while the server does, and is cancelled with it; what it raises ends the
    server, and is raised here.
    """
    config = http_config(app, settings, error_response)
    use_tls(config, settings)
    await rpc.start()
    gc.freeze()  # what was made at start stays, and need not be looked at again
    gc.set_threshold(GC_THRESHOLD)
    gc.enable()
    companions = [
        asyncio.ensure_future(companion)
        for companion in (watch_open_files(), keep_trimmed(), keep_counting())
    ]
    opened = AsyncExitStack()
    server = HttpServer(config, app.under_way, settings.drain_s, rpc.stop, opened.aclose)
    beside = asyncio.ensure_future(alongside()) if alongside else None
    if beside:
        companions.append(beside)
        beside.add_done_callback(lambda done: _stop_if_failed(server, done))
    try:
        async with opened:
            await opened.enter_async_context(app.reception.open(settings, models))
            await server.serve(sockets=[listener])
    finally:
        await rpc.stop(0)
        for companion in companions:
            companion.cancel()
        await asyncio.gather(*companions, return_exceptions=True)
    if beside and not beside.cancelled() and (failure := beside.exception()):
        raise failure


def _stop_if_failed(server: HttpServer, done: "asyncio.Future[None]") -> None:
    if not done.cancelled() and done.exception():
        server.should_exit = True
