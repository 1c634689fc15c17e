"""A service of bytes on our HTTP/2 server, scripted by what callers ask, and its clients."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from gateway.http2.server.limits import Limits
from gateway.http2.server.server import Server
from gateway.server import free_port

LOOPBACK = "127.0.0.1"
MAX_MESSAGE_BYTES = 100_000
LIMITS = Limits(MAX_MESSAGE_BYTES)


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Methods of all four kinds. `running` counts calls of Hang and Flood, `written` messages."""

    def __init__(self) -> None:
        self.running = 0
        self.written = 0
        self.seen: list[tuple[str, str | bytes]] = []

    async def stuck(self) -> int:
        """Wait until Flood has nowhere to write; return how many messages it has written."""
        before = -1
        while before != self.written or not before:
            before = self.written
            await asyncio.sleep(0.3)
        return before

    def service(self, details: Any) -> Any:
        kind, behaviour = {
            "/t/Echo": (grpc.unary_unary_rpc_method_handler, self._echo),
            "/t/Count": (grpc.unary_stream_rpc_method_handler, self._count),
            "/t/Hang": (grpc.unary_stream_rpc_method_handler, self._hang),
            "/t/Flood": (grpc.unary_stream_rpc_method_handler, self._flood),
            "/t/Join": (grpc.stream_unary_rpc_method_handler, self._join),
            "/t/Talk": (grpc.stream_stream_rpc_method_handler, self._talk),
            "/t/Abort": (grpc.unary_unary_rpc_method_handler, self._abort),
            "/t/Code": (grpc.unary_unary_rpc_method_handler, self._code),
            "/t/Break": (grpc.unary_unary_rpc_method_handler, self._break),
        }.get(details.method, (None, None))
        return kind(behaviour) if kind else None

    async def _echo(self, request: bytes, context: Any) -> bytes:
        self.seen = list(context.invocation_metadata())
        await context.send_initial_metadata([("x-first", "1")])
        context.set_trailing_metadata([("x-last-bin", b"\0\xff"), ("x-peer", context.peer())])
        return request

    async def _count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()
            await asyncio.sleep(0)

    async def _hang(self, request: bytes, context: Any) -> None:
        self.running += 1
        try:
            await context.write(str(context.time_remaining()).encode())
            await asyncio.Event().wait()
        finally:
            self.running -= 1

    async def _flood(self, request: bytes, context: Any) -> None:
        self.running += 1
        try:
            while True:
                await context.write(bytes(int(request)))
                self.written += 1
        finally:
            self.running -= 1

    async def _join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def _talk(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()

    async def _abort(self, request: bytes, context: Any) -> None:
        details = [("x-why", "so")]
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100 %, é", details)

    async def _code(self, request: bytes, context: Any) -> None:
        context.set_code(grpc.StatusCode.ABORTED)
        context.set_details("try again")

    async def _break(self, request: bytes, context: Any) -> bytes:
        raise ZeroDivisionError("secret")


@asynccontextmanager
async def running(
    tls: Any = None, limits: Limits = LIMITS
) -> AsyncIterator[tuple[Service, Server, str]]:
    """Run a server; yield its service, itself, its address."""
    service, port = Service(), free_port(LOOPBACK, 0)
    server = Server(LOOPBACK, port, limits, tls)
    server.add_generic_rpc_handlers([service])
    await server.start()
    try:
        yield service, server, f"{LOOPBACK}:{port}"
    finally:
        await server.stop(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, half a minute at most."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")
