"""What is counted, for Prometheus. Labels are bounded: nothing a caller writes becomes one."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

REGISTRY = CollectorRegistry()
IGNORED_PARAMETERS = Counter(
    "gateway_ignored_parameters",
    "Request parameters that were ignored, those nobody knows as `other`.",
    ["param"],
    registry=REGISTRY,
)
LIMITS_WITHOUT_STORE = Counter(
    "gateway_limits_without_store",
    "Requests whose limits were decided by the policy, as the shared store did not answer.",
    ["policy"],
    registry=REGISTRY,
)
NO_CAPACITY = Counter(
    "gateway_no_capacity",
    "Requests that were told to come back, as their model had no room for them.",
    ["model"],
    registry=REGISTRY,
)
READERS_CUT_OFF = Counter(
    "gateway_readers_cut_off",
    "Clients that were cut off while an answer waited for them: `unread` for longer than they may "
    "leave it, or beyond the request's `deadline`.",
    ["reason"],
    registry=REGISTRY,
)
USAGE_LOST = Counter(
    "gateway_usage_lost",
    "Rows of usage that could not be written.",
    registry=REGISTRY,
)

REPLICA_EVENTS = Counter(
    "gateway_replica_events",
    "Generations retried, moved off a lost replica, resumed elsewhere, denied a retry; replicas "
    "ejected.",
    ["event"],
    registry=REGISTRY,
)


def metrics_routes(workers: int) -> APIRouter:
    """Return /metrics, which tells the sum over all workers."""
    router = APIRouter()
    registry = REGISTRY
    if workers > 1:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
