"""Failures on gRPC's wire: a canonical code, and google.rpc.Status with details to act on."""

from collections.abc import Iterator

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.errors import ClientError, GatewayError, Overloaded
from gateway.rpc.paths import field_message, field_path

DOMAIN = "triton-openai-gateway"
RETRY_PUSHBACK = "grpc-retry-pushback-ms"
MAX_MESSAGE_CHARS = 1000
"""Status and details travel in HTTP/2 trailers, of which clients read 8 KiB."""


def status_code(error: GatewayError) -> grpc.StatusCode:
    """Return the canonical code of an error."""
    return grpc.StatusCode[error.grpc_status]


def retry_pushback(error: GatewayError) -> tuple[tuple[str, str], ...]:
    """Return the metadata that tells a client's retry policy when to try again, or not to.

    It is what `x-should-retry` and `Retry-After` are to OpenAI's clients; -1 is never.
    """
    if not error.retry:
        return ((RETRY_PUSHBACK, "-1"),)
    if error.retry_after_s is None:
        return ()
    # gRPC's C core never comes back after 0.
    return ((RETRY_PUSHBACK, str(max(1, round(error.retry_after_s * 1000)))),)


def rich_status(error: GatewayError, request: Descriptor, request_id: str) -> status_pb2.Status:
    """Return google.rpc.Status: the code of HTTP's error as ErrorInfo's reason, in capitals.

    A parameter at fault is a BadRequest with its path through `request`, a time to come back a
    RetryInfo, a lack of room a QuotaFailure.
    """
    message = field_message(error, request)[:MAX_MESSAGE_CHARS]
    status = status_pb2.Status(code=code_pb2.Code.Value(error.grpc_status), message=message)
    for detail in _details(error, request, request_id, message):
        status.details.add().Pack(detail)
    return status


def _details(
    error: GatewayError, request: Descriptor, request_id: str, message: str
) -> Iterator[Message]:
    metadata = {"type": error.type, "retry": str(error.retry).lower()}
    yield error_details_pb2.ErrorInfo(reason=error.code.upper(), domain=DOMAIN, metadata=metadata)
    yield error_details_pb2.RequestInfo(request_id=request_id)
    if error.param is not None and isinstance(error, ClientError):
        bad_request = error_details_pb2.BadRequest()
        field = field_path(error.param, request)
        bad_request.field_violations.add(field=field, description=message)
        yield bad_request
    if error.retry_after_s is not None:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromMilliseconds(round(error.retry_after_s * 1000))
        yield retry_info
    if isinstance(error, Overloaded):
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject=error.code, description=message)
        yield quota
