"""A gRPC server: of `grpc.aio.Server` what services in generated code need."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence

from gateway.http2.server.handlers import CallDetails, GenericHandler, Method, MethodHandler, find
from gateway.http2.server.limits import Limits
from gateway.http2.server.office import Visitor
from gateway.http2.server.requests import Request
from gateway.http2.server.store import Store
from gateway.http2.server.transport import CLOSE_TIMEOUT_S, KEEPALIVE_TIMEOUT_S, Transport
from gateway.http2.server.turns import Turns

BACKLOG = 1024


class Server:
    """Serves the services added to it. Several processes may listen on one port."""

    def __init__(
        self, host: str, port: int, limits: Limits, tls: ssl.SSLContext | None = None
    ) -> None:
        self.limits = limits
        self.store = Store(limits.max_held_bytes)
        self.turns = Turns()
        self._host, self._port, self._tls = host, port, tls
        self.transports: set[Visitor] = set()
        self._handlers: list[GenericHandler] = []
        self._methods: dict[str, Method] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    def add_generic_rpc_handlers(self, handlers: Sequence[GenericHandler]) -> None:
        """Serve the methods that these know."""
        self._handlers += handlers

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, MethodHandler]
    ) -> None:
        """Do nothing: generated code adds the same methods as generic handlers."""

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: Transport(self),
            self._host,
            self._port,
            ssl=self._tls,
            ssl_handshake_timeout=KEEPALIVE_TIMEOUT_S if self._tls else None,
            reuse_port=True,
            backlog=BACKLOG,
        )

    async def stop(self, grace: float | None) -> None:
        """Take no new connections, and let running calls finish for so many seconds."""
        if self._listener:
            self._listener.close()
        for transport in tuple(self.transports):
            transport.drain()
        await self._all_lost(grace or 0)
        for transport in tuple(self.transports):
            transport.end()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
        await self._all_lost(CLOSE_TIMEOUT_S)
        for transport in tuple(self.transports):
            transport.abort()

    def admit(self, visitor: Visitor) -> bool:
        """Know of a connection; where there are too many, the one longest idle has to leave."""
        if len(self.transports) >= self.limits.max_connections and not self._make_room():
            return False
        self.transports.add(visitor)
        return True

    def dismiss(self, visitor: Visitor) -> None:
        """Forget a connection that has ended."""
        self.transports.discard(visitor)

    def find(self, request: Request) -> Method | None:
        """Return the method that a request is for."""
        method = self._methods.get(request.path)
        if method is None:
            method = find(self._handlers, CallDetails(request.path, ()))
            if method:
                self._methods[request.path] = method
        return method

    def enlist(self, task: asyncio.Task[None]) -> None:
        """Know of a handler that runs, so that it can be waited for."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make_room(self) -> bool:
        idle = [each for each in self.transports if each.is_idle]
        if not idle:
            return False
        longest = min(idle, key=lambda each: each.heard_at)
        self.transports.discard(longest)
        longest.end()
        return True

    async def _all_lost(self, timeout_s: float) -> None:
        if self.transports and timeout_s:
            await asyncio.wait([each.lost for each in self.transports], timeout=timeout_s)
