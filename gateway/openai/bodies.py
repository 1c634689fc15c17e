"""Request bodies held to their schema, refused in OpenAI's way."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from gateway.errors import InvalidRequest
from gateway.http.body import read_within
from gateway.http.exchange import HEADERS
from gateway.http.media import require_json
from gateway.openai.faults import fault
from gateway.settings import Settings
from gateway.traffic.size import MAX_DEPTH, check_json

Body = TypeVar("Body", bound=BaseModel)
T = TypeVar("T")

INLINE_BYTES = 2**14
"""Larger bodies are read in a thread: of these none takes more than some milliseconds."""


async def read_body(
    request: Request, schema: type[Body], settings: Settings, understand: Callable[[Body], T]
) -> T:
    """Return what is understood of a JSON body; of a large one off the event loop.

    Raises what `require_json`, `read_within` and `understand` do, and InvalidRequest naming the
    parameter that is wrong.
    """
    require_json(request.scope[HEADERS])
    raw = await read_within(request, settings)

    def read() -> T:
        return understand(parse_body(raw, schema))

    return read() if len(raw) <= INLINE_BYTES else await asyncio.to_thread(read)


def parse_body(raw: bytes, schema: type[Body]) -> Body:
    """Return JSON as `schema`. Raises InvalidRequest naming the parameter that is wrong."""
    check_json(raw)
    try:
        return schema.model_validate_json(raw)
    except ValidationError as error:
        raise invalid_request(error) from error


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Return the first problem of a failed validation, with the parameter's path.

    Lists are given up at their first fault, so that there are few problems to choose from.
    """
    kind, param, text = fault(
        error.errors(include_url=False, include_input=False, include_context=False)
    )
    if "recursion limit" in text:
        return InvalidRequest(f"The body is nested more than {MAX_DEPTH} deep.")
    if kind == "json_invalid":
        return InvalidRequest(f"The body is not valid JSON: {text}.", code="invalid_json")
    if kind == "missing":
        return InvalidRequest(
            f"{param!r} is required.", param=param, code="missing_required_parameter"
        )
    if param is None:
        return InvalidRequest("The body must be a JSON object.")
    return InvalidRequest(f"{param!r}: {text}.", param=param)
