"""Every error's row in the table of canonical codes and details."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2 as details

from gateway import errors
from gateway.errors import GatewayError
from gateway.rpc.errors import retry_pushback, rich_status, status_code
from gateway.v1.chat_pb2 import ChatCompletionRequest

REQUEST: Any = ChatCompletionRequest.DESCRIPTOR
Code = grpc.StatusCode

ROWS = [
    (errors.InvalidRequest, Code.INVALID_ARGUMENT, "INVALID_VALUE", 400),
    (errors.UnsupportedParameter, Code.INVALID_ARGUMENT, "UNSUPPORTED_PARAMETER", 400),
    (errors.ContextTooLong, Code.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED", 400),
    (errors.InvalidGuide, Code.INVALID_ARGUMENT, "INVALID_VALUE", 400),
    (errors.Unauthorized, Code.UNAUTHENTICATED, "INVALID_API_KEY", 401),
    (errors.Forbidden, Code.PERMISSION_DENIED, "PERMISSION_DENIED", 403),
    (errors.NotFound, Code.NOT_FOUND, "NOT_FOUND", 404),
    (errors.ModelNotFound, Code.NOT_FOUND, "MODEL_NOT_FOUND", 404),
    (errors.MethodNotAllowed, Code.UNIMPLEMENTED, "METHOD_NOT_ALLOWED", 405),
    (errors.RequestTimeout, Code.DEADLINE_EXCEEDED, "REQUEST_TIMEOUT", 408),
    (errors.RequestTooLarge, Code.INVALID_ARGUMENT, "REQUEST_TOO_LARGE", 413),
    (errors.Overloaded, Code.RESOURCE_EXHAUSTED, "OVERLOADED", 429),
    (errors.RateLimited, Code.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED", 429),
    (errors.RequestOverLimit, Code.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED", 429),
    (errors.NoCapacity, Code.UNAVAILABLE, "NO_CAPACITY", 503),
    (errors.LimitsUnavailable, Code.UNAVAILABLE, "LIMITS_UNAVAILABLE", 503),
    (errors.UsageUnavailable, Code.UNAVAILABLE, "USAGE_UNAVAILABLE", 503),
    (errors.EngineUnavailable, Code.UNAVAILABLE, "ENGINE_UNAVAILABLE", 503),
    (errors.EngineTimeout, Code.DEADLINE_EXCEEDED, "ENGINE_TIMEOUT", 504),
    (errors.EngineFailure, Code.INTERNAL, "ENGINE_FAILURE", 500),
    (GatewayError, Code.INTERNAL, "INTERNAL_ERROR", 500),
]


HTTP_ONLY = (errors.HttpRefusal, errors.TooManyConnections)


def leaves(kind: type[GatewayError]) -> set[type[GatewayError]]:
    """Return the kinds of errors that are raised: those that say more than their parent."""
    children = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
    below = {leaf for child in children if child not in HTTP_ONLY for leaf in leaves(child)}
    return below if kind in (errors.ClientError, errors.EngineError) else below | {kind}


def unpacked(error: GatewayError, kind: Any) -> list[Any]:
    """Return the details of one kind in an error's status."""
    found = []
    for detail in rich_status(error, REQUEST, "r1").details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


@pytest.mark.parametrize(
    ("kind", "code", "reason", "status"), ROWS, ids=[row[0].__name__ for row in ROWS]
)
def test_each_error_has_its_row(
    kind: type[GatewayError], code: grpc.StatusCode, reason: str, status: int
) -> None:
    error = kind("What went wrong.")
    rich = rich_status(error, REQUEST, "r1")
    [info] = unpacked(error, details.ErrorInfo)

    assert (status_code(error), error.status) == (code, status)
    assert (rich.code, rich.message) == (code.value[0], "What went wrong.")
    assert (info.reason, info.domain) == (reason, "triton-openai-gateway")
    assert dict(info.metadata) == {"type": error.type, "retry": str(error.retry).lower()}
    assert unpacked(error, details.RequestInfo)[0].request_id == "r1"


def test_the_table_has_all_errors() -> None:
    assert {row[0] for row in ROWS} == leaves(GatewayError)


def test_a_parameter_at_fault_is_a_field_violation_on_its_path() -> None:
    error = errors.InvalidRequest("'temperature' is too high.", param="temperature")

    [bad_request] = unpacked(error, details.BadRequest)

    assert [(v.field, v.description) for v in bad_request.field_violations] == [
        ("sampling.temperature", "'temperature' is too high.")
    ]


def test_a_model_that_does_not_exist_is_a_field_violation_too() -> None:
    error = errors.ModelNotFound("There is no 'x'.", param="model")

    [bad_request] = unpacked(error, details.BadRequest)

    assert bad_request.field_violations[0].field == "model"


def test_an_error_without_a_parameter_has_no_field_violation() -> None:
    assert unpacked(errors.EngineFailure("It broke."), details.BadRequest) == []


def test_a_time_to_come_back_is_a_retry_info() -> None:
    error = errors.EngineUnavailable("Not ready.", retry_after_s=1.5)

    [retry_info] = unpacked(error, details.RetryInfo)

    assert retry_info.retry_delay.ToMilliseconds() == 1500
    assert unpacked(errors.EngineUnavailable("Not ready."), details.RetryInfo) == []


def test_a_lack_of_room_is_a_quota_failure() -> None:
    [quota] = unpacked(errors.Overloaded("Full."), details.QuotaFailure)

    assert [(v.subject, v.description) for v in quota.violations] == [("overloaded", "Full.")]
    assert unpacked(errors.EngineFailure("It broke."), details.QuotaFailure) == []


@pytest.mark.parametrize(
    ("error", "pushback"),
    [
        (errors.Overloaded("Full.", retry_after_s=1), ["1000"]),
        (errors.EngineUnavailable("Not ready."), []),
        (errors.EngineTimeout("Too slow."), ["-1"]),
        (errors.InvalidRequest("No."), ["-1"]),
    ],
    ids=["overloaded", "unavailable", "timeout", "invalid"],
)
def test_clients_are_told_whether_to_try_again(error: GatewayError, pushback: list[str]) -> None:
    assert [value for _, value in retry_pushback(error)] == pushback


def test_a_long_message_is_cut_to_fit_the_trailers() -> None:
    assert len(rich_status(errors.InvalidRequest("x" * 5000), REQUEST, "r1").message) == 1000
