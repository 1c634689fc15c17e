"""The pace of a mock worker: one tick for all streams, as an in-flight batcher has. No protocol."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

SET_PACE = "/bench.Clock/SetPace"
UNPACED_INTERVAL_S = 0.05


class Clock:
    """Ticks every `pace_s`; a pace of 0 never makes anyone wait."""

    def __init__(self, pace_s: float) -> None:
        self._pace_s = pace_s
        self._tick = asyncio.Event()

    async def run(self) -> None:
        """Tick until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + (self._pace_s or UNPACED_INTERVAL_S), loop.time())
            await asyncio.sleep(due - loop.time())
            self._tick.set()
            self._tick = asyncio.Event()

    async def tick(self) -> None:
        """Wait for the next tick."""
        if self._pace_s:
            await self._tick.wait()

    async def set_pace(self, request: bytes, _: Any) -> bytes:
        """Answer the RPC that changes the pace: milliseconds, in digits."""
        self._pace_s = float(request) / 1000
        return b""


async def serve(
    clock: Clock, port: int, handler: Callable[[Any], grpc.RpcMethodHandler | None]
) -> None:
    """Serve a mock on loopback until cancelled; `handler` finds the methods that are its own."""

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            if details.method == SET_PACE:
                return grpc.unary_unary_rpc_method_handler(clock.set_pace)
            return handler(details.method)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handlers()])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.gather(clock.run(), server.wait_for_termination())


def unary(answer: Callable[[], bytes]) -> grpc.RpcMethodHandler:
    """Return a method that gives the same bytes to everyone."""

    async def method(_: bytes, __: Any) -> bytes:
        return answer()

    return grpc.unary_unary_rpc_method_handler(method)


def set_pace(address: str, pace_ms: float) -> None:
    """Change the pace of the mock at HOST:PORT."""
    with grpc.insecure_channel(address) as channel:
        channel.unary_unary(SET_PACE)(f"{pace_ms}".encode(), timeout=10, wait_for_ready=True)
