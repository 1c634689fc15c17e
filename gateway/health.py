"""Whether this process lives, whether it can serve, and which version of the gateway it is."""

import orjson
import structlog
from fastapi import APIRouter, Response

from gateway import __version__
from gateway.errors import EngineUnavailable
from gateway.models import Models
from gateway.openai.answers import Health, Version
from gateway.openai.reference import answers

log = structlog.get_logger(__name__)


def health_routes(models: Models) -> APIRouter:
    """Return /health/live, /version, and /health/ready: 503 with the reason until all serve.

    /health and /ping are what others ask for the same as /health/ready: guidellm, SageMaker.
    """
    router = APIRouter()

    @router.get("/health/live", responses=answers(Health))
    async def live() -> Response:
        return _status(200, status="live")

    @router.get("/ping", include_in_schema=False)
    @router.get("/health", include_in_schema=False)
    @router.get(
        "/health/ready",
        responses=answers(Health) | {503: {"model": Health, "description": "Not ready."}},
    )
    async def ready() -> Response:
        try:
            await models.check_ready()
        except EngineUnavailable as error:
            log.info("not_ready", reason=error.message, detail=error.detail)
            return _status(503, status="not ready", reason=error.message)
        return _status(200, status="ready")

    @router.get("/version", responses=answers(Version))
    async def version() -> Response:
        return _status(200, version=__version__)

    return router


def _status(code: int, **body: str) -> Response:
    return Response(orjson.dumps(body), status_code=code, media_type="application/json")
