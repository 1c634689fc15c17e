"""Whether this process lives, and whether it can serve."""

import orjson
from fastapi import APIRouter, Response

from gateway.errors import EngineUnavailable
from gateway.models import Models


def health_routes(models: Models) -> APIRouter:
    """Return /health/live, and /health/ready: 503 with the reason until every model serves."""
    router = APIRouter(prefix="/health")

    @router.get("/live")
    async def live() -> Response:
        return _status(200, status="live")

    @router.get("/ready")
    async def ready() -> Response:
        try:
            await models.check_ready()
        except EngineUnavailable as error:
            return _status(503, status="not ready", reason=error.message)
        return _status(200, status="ready")

    return router


def _status(code: int, **body: str) -> Response:
    return Response(orjson.dumps(body), status_code=code, media_type="application/json")
