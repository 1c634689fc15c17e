"""The HTTP server: uvicorn with our bounds on connections, and an end that everybody is told of."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from gateway.http.connection import Connection, Refusal
from gateway.http.crowd import Crowd, room_for
from gateway.http.forwarded import Proxies
from gateway.settings import Settings
from gateway.telemetry.logs import flush_logs
from gateway.under_way import UnderWay

POLL_S = 0.05
FLUSH_S = 2.0
FORCED_FLUSH_S = 0.2
"""What is answered may take so long to be sent once nothing is under way any more."""
BACKSTOP_S = 10

Stop = Callable[[float], Awaitable[None]]
"""Stops another server that shares the process, within so many seconds."""

Last = Callable[[], Awaitable[None]]


def http_config(app: ASGIApp, settings: Settings, refusal: Refusal) -> uvicorn.Config:
    """Return how HTTP is served; what is refused before `app` sees it is written by `refusal`."""
    crowd = Crowd(room_for(settings.max_connections), settings.max_connections_per_address)
    made = partial(Connection, settings, crowd, Proxies.of(settings), refusal)
    return uvicorn.Config(
        app,
        loop="none",
        http=cast(type[asyncio.Protocol], made),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=settings.idle_timeout_s,
        timeout_graceful_shutdown=int(settings.drain_s) + BACKSTOP_S,
        server_header=False,
    )


class HttpServer(uvicorn.Server):
    """Waits for what is under way before it stops, over HTTP and what else the process serves.

    Those that are not answered by then are told; a second SIGINT ends them at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        under_way: UnderWay,
        drain_s: float,
        stop_others: Stop,
        last: Last | None = None,
    ) -> None:
        """`last` is done when all is answered: after `serve` a signal may end the process."""
        super().__init__(config)
        self._last = last
        self._under_way = under_way
        self._drain_s = drain_s
        self._stop_others = stop_others

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        others = asyncio.ensure_future(self._stop_others(self._drain_s + FLUSH_S))
        draining = asyncio.ensure_future(self._drain(others))
        await super().shutdown(sockets)
        await draining
        if self._last:
            await self._last()
        flush_logs()

    async def _drain(self, others: asyncio.Future[None]) -> None:
        await self._under_way.finish(self._drain_s, lambda: self.force_exit)
        flush_s = FORCED_FLUSH_S if self.force_exit else FLUSH_S
        for _ in range(round(flush_s / POLL_S)):
            if others.done() and not self.server_state.connections:
                break
            await asyncio.sleep(POLL_S)
        others.cancel()
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(others, return_exceptions=True)
