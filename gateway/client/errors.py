"""What a call failed with, read from google.rpc.Status in its trailers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

STATUS_DETAILS = "grpc-status-details-bin"


@dataclass
class CallFailed(Exception):
    """A call that did not succeed.

    `reason` is the gateway's own code, such as MODEL_NOT_FOUND, and empty where the gateway was
    not reached; `fields` maps paths through the request to what is wrong there.
    """

    code: grpc.StatusCode
    message: str
    reason: str
    fields: dict[str, str]
    retry_after_s: float | None
    request_id: str

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


@contextmanager
def told() -> Iterator[None]:
    """Raise what gRPC raises inside as CallFailed."""
    try:
        yield
    except grpc.RpcError as error:
        raise call_failed(error) from error


def call_failed(error: Any) -> CallFailed:
    """Return what a `grpc.RpcError`, or its asyncio kin, tells."""
    metadata = {name: value for name, value in error.trailing_metadata() or ()}
    status = status_pb2.Status.FromString(metadata.get(STATUS_DETAILS, b""))
    info = _detail(status, error_details_pb2.ErrorInfo)
    bad_request = _detail(status, error_details_pb2.BadRequest)
    retry = _detail(status, error_details_pb2.RetryInfo)
    return CallFailed(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        fields={one.field: one.description for one in bad_request.field_violations},
        retry_after_s=retry.retry_delay.ToMilliseconds() / 1000 if retry.ByteSize() else None,
        request_id=str(metadata.get("x-request-id", "")),
    )


def _detail(status: Any, kind: Any) -> Any:
    """Return the detail of a kind, an empty one if there is none."""
    found = kind()
    for detail in status.details:
        if detail.Unpack(found):
            break
    return found
