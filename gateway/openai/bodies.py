"""Request bodies held to their schema, refused in OpenAI's way."""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from gateway.errors import InvalidRequest
from gateway.http.body import read_within
from gateway.openai.faults import fault
from gateway.settings import Settings

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, schema: type[Body], settings: Settings) -> Body:
    """Return the JSON body as `schema`.

    Raises what `read_within` does, and InvalidRequest naming the parameter that is wrong.
    """
    raw = await read_within(request, settings)
    try:
        return schema.model_validate_json(raw)
    except ValidationError as error:
        raise invalid_request(error) from error


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Return the first problem of a failed validation, with the parameter's path."""
    kind, param, text = fault(
        error.errors(include_url=False, include_input=False, include_context=False)
    )
    if kind == "json_invalid":
        return InvalidRequest(f"The body is not valid JSON: {text}.", code="invalid_json")
    if kind == "missing":
        return InvalidRequest(
            f"{param!r} is required.", param=param, code="missing_required_parameter"
        )
    if param is None:
        return InvalidRequest("The body must be a JSON object.")
    return InvalidRequest(f"{param!r}: {text}.", param=param)
