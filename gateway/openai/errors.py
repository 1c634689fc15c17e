"""Failures on OpenAI's wire: the body, the status, the headers that steer a client's retries."""

import math

import orjson
from fastapi import Request, Response
from starlette.exceptions import HTTPException

from gateway.errors import (
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    Unauthorized,
    UnsupportedMediaType,
)
from gateway.openai.shapes import error_object


def error_response(error: GatewayError) -> Response:
    """Return ErrorResponse with the error's status, `x-should-retry` and `Retry-After`."""
    headers = {
        "x-should-retry": "true" if error.retry else "false",
        "X-Content-Type-Options": "nosniff",  # an error names what was asked for
    }
    if error.status == Unauthorized.status:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 6750, 3
    if error.status == RequestTimeout.status:
        headers["Connection"] = "close"  # the rest of the body is not waited for
    if error.status == UnsupportedMediaType.status:
        headers |= {"Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
    if error.retry_after_s is not None:
        headers["retry-after-ms"] = str(max(1, round(error.retry_after_s * 1000)))
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return Response(
        orjson.dumps(error_object(error)),
        status_code=error.status,
        headers=headers,
        media_type="application/json",
    )


async def on_gateway_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return error_response(error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Say in OpenAI's form what the router says: no such path, no such method."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.scope['path']}"
    if error.status_code == 404:
        return error_response(NotFound(f"There is nothing at {where}."))
    if error.status_code == 405:
        response = error_response(MethodNotAllowed(f"{where} is not allowed."))
        response.headers.update(error.headers or {})
        return response
    return error_response(InvalidRequest(str(error.detail)))


async def on_client_gone(_: Request, __: Exception) -> Response:
    return gone_response()


def gone_response() -> Response:
    """Nobody reads this answer; 499 is what access logs call it."""
    return Response(status_code=499)
