"""The OpenAPI page: what each route reads and answers. Says it; the routes do it."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.openai.answers import ChatCompletionChunk, Completion, ErrorResponse
from gateway.openai.parameters import HINTS, IGNORED, REFUSED, neutral_values
from gateway.openai.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
)

REF = "#/components/schemas/{model}"
REQUESTS = (ChatCompletionRequest, CompletionRequest, TokenizeRequest, DetokenizeRequest)
CHUNKS = (ChatCompletionChunk, Completion)

Responses = dict[int | str, dict[str, Any]]

ERRORS = {
    400: "A parameter is wrong or cannot be honoured; `param` names it.",
    404: "There is no such model.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    415: "The body is not called `application/json`, or its coding is none that is read.",
    429: "There is no room now; `Retry-After` says when to come back.",
    500: "The gateway or the engine failed.",
    503: "The engine cannot be reached yet; `Retry-After` says when to come back.",
    504: "The answer was not complete in time; the text tells how many tokens had come.",
}
READING = (400, 404, 408, 413, 415, 500, 503)
GENERATING = (*READING, 429, 504)


def reads(schema: type[BaseModel]) -> dict[str, Any]:
    """Return what the page says of a route that reads `schema` from the raw body."""
    return {"requestBody": {"required": True, "content": {"application/json": _ref(schema)}}}


def answers(
    schema: type[BaseModel],
    chunk: type[BaseModel] | None = None,
    errors: tuple[int, ...] = (500,),
) -> Responses:
    """Return what the page says of a route's answers: whole, as events of `chunk`, as errors."""
    responses: Responses = {200: {"model": schema, "description": "The answer."}}
    if chunk:
        responses[200]["content"] = {"text/event-stream": {"schema": _event(chunk)}}
    for status in sorted(errors):
        responses[status] = {"model": ErrorResponse, "description": ERRORS[status]}
    return responses


def _event(chunk: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of one event of a stream: a chunk or an error as JSON, or `[DONE]`."""
    content = {"anyOf": [_ref(chunk)["schema"], _ref(ErrorResponse)["schema"]]}
    json = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    data = {"anyOf": [json, {"const": "[DONE]"}]}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def _ref(schema: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": REF.format(model=schema.__name__)}}


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document holds the schemas that routes refer to by name."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema:
            return self.openapi_schema
        document = super().openapi()
        schemas = document["components"]["schemas"]
        schemas.update(_definitions())
        # FastAPI's own answer to a bad path parameter, which no path here has.
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return document


def _definitions() -> dict[str, Any]:
    """Return the JSON schemas of the bodies, of the chunks, and of what they are made of."""
    _, schemas = models_json_schema(
        [
            *((model, "validation") for model in REQUESTS),
            *((model, "serialization") for model in CHUNKS),
        ],
        ref_template=REF,
    )
    definitions: dict[str, Any] = schemas["$defs"]
    for body in (ChatCompletionRequest, CompletionRequest):
        known = definitions[body.__name__]["properties"]
        definitions[body.__name__]["properties"] = known | _without_effect()
    return definitions


def _without_effect() -> dict[str, Any]:
    """Return the parameters that no schema has: hints, ignored whatever they are, or refused."""
    hints = {
        name: {"description": "A hint: of several replicas, the one that had it last is preferred."}
        for name in HINTS
    }
    ignored = {name: {"description": "Accepted and ignored."} for name in sorted(IGNORED)}
    refused = {
        name: {"enum": neutral_values(name), "description": f"Refused: {reason}"}
        for name, reason in REFUSED.items()
    }
    return hints | ignored | refused
