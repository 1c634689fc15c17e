"""The standard health service: whether the models can serve, until the gateway drains."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

from gateway.errors import EngineUnavailable
from gateway.models import Models

POLL_S = 1.0
POLL_UNTIL_READY_S = 0.1


class Health(HealthServicer):  # type: ignore[misc]
    """SERVING while every model can serve, for the server as a whole and for each service.

    Other than grpcio-health-checking's own servicer, one watcher's leaving does not end what
    another sees, and a draining server does not wait for its watchers.
    """

    def __init__(self, models: Models, services: Sequence[str]) -> None:
        self._models = models
        self._services = frozenset(("", *services))
        self._status: int = HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Event()
        self._is_draining = False

    async def Check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service.")
        return HealthCheckResponse(status=self._status)

    async def Watch(self, request: HealthCheckRequest, context: Any) -> None:
        if request.service not in self._services:
            await context.write(HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN))
            return
        while True:
            changed = self._changed
            await context.write(HealthCheckResponse(status=self._status))
            if self._is_draining:
                return
            await changed.wait()

    async def follow(self) -> None:
        """Look at the models again and again."""
        while not self._is_draining:
            status = await self._look()
            if not self._is_draining:
                self._set(status)
            is_ready = status == HealthCheckResponse.SERVING
            await asyncio.sleep(POLL_S if is_ready else POLL_UNTIL_READY_S)

    def drain(self) -> None:
        """Be NOT_SERVING from now on, and tell all who watch."""
        self._is_draining = True
        self._status = HealthCheckResponse.NOT_SERVING
        self._wake()

    async def _look(self) -> int:
        try:
            await self._models.check_ready()
        except EngineUnavailable:
            return int(HealthCheckResponse.NOT_SERVING)
        return int(HealthCheckResponse.SERVING)

    def _set(self, status: int) -> None:
        if status != self._status:
            self._status = status
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
