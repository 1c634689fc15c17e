"""What is counted, for Prometheus. Labels are bounded: nothing a caller writes becomes one."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest

REGISTRY = CollectorRegistry()
IGNORED_PARAMETERS = Counter(
    "gateway_ignored_parameters",
    "Request parameters that were ignored, those nobody knows as `other`.",
    ["param"],
    registry=REGISTRY,
)


def metrics_routes() -> APIRouter:
    """Return /metrics."""
    router = APIRouter()

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return router
