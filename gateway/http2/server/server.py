"""A gRPC server: of `grpc.aio.Server` what services in generated code need."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from itertools import count

from gateway.http2.server.handlers import CallDetails, GenericHandler, Method, MethodHandler, find
from gateway.http2.server.requests import Request
from gateway.http2.server.tally import Tally
from gateway.http2.server.transport import CLOSE_TIMEOUT_S, Transport

BACKLOG = 1024


class Server:
    """Serves the services added to it. Several processes may listen on one port."""

    def __init__(
        self, host: str, port: int, max_message_bytes: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self._host, self._port, self._tls = host, port, tls
        self.transports: set[Transport] = set()
        self.tally = Tally()
        self._numbers = count(1)
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
            lambda: Transport(self, next(self._numbers)),
            self._host,
            self._port,
            ssl=self._tls,
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

    async def _all_lost(self, timeout_s: float) -> None:
        if self.transports and timeout_s:
            await asyncio.wait([each.lost for each in self.transports], timeout=timeout_s)
