"""Request bodies: read within the limit, checked against their schema, refused in OpenAI's way."""

import asyncio
import sys
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from gateway.errors import InvalidRequest, RequestTimeout, RequestTooLarge
from gateway.openai.disconnect import ClientGone
from gateway.settings import Settings

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, schema: type[Body], settings: Settings) -> Body:
    """Return the JSON body as `schema`.

    Raises RequestTooLarge before more than the limit is held, RequestTimeout when the body is
    slow to come, ClientGone when it never comes, InvalidRequest naming the parameter that is
    wrong.
    """
    try:
        async with timeout(settings.body_timeout_s):
            raw = await _read_within(request, settings.max_body_bytes)
    except asyncio.TimeoutError:
        raise RequestTimeout(
            f"The request body did not arrive within {settings.body_timeout_s:g} seconds."
        ) from None
    except ClientDisconnect:
        raise ClientGone from None
    try:
        return schema.model_validate_json(raw)
    except ValidationError as error:
        raise invalid_request(error) from error


async def _read_within(request: Request, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(raw)


def _too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request body is larger than {max_bytes} bytes.")


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Return the first problem of a failed validation, with the parameter's path."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = _path(first["loc"])
    if first["type"] == "json_invalid":
        return InvalidRequest(f"The body is not valid JSON: {first['msg']}.", code="invalid_json")
    if first["type"] == "missing":
        return InvalidRequest(
            f"{param!r} is required.", param=param, code="missing_required_parameter"
        )
    if param is None:
        return InvalidRequest("The body must be a JSON object.")
    return InvalidRequest(f"{param!r}: {first['msg']}.", param=param)


def _path(location: tuple[int | str, ...]) -> str | None:
    """Return `messages[0].content` for a location, without the names of union members."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in UNION_MEMBERS:
            path += f".{part}" if path else part
    return path or None


UNION_MEMBERS = frozenset({"str", "int", "float", "bool", "list", "dict"})
