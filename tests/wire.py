"""Requests to the gateway in process, every answer held to OpenAI's schema and to its SDK."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
from fastapi import FastAPI
from openai.pagination import SyncPage
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject
from pydantic import BaseModel, ValidationError

from gateway.app import create_app
from gateway.models import Models
from gateway.settings import Settings
from tests import openai_spec
from tests.fakes import FakeEngine, tiny_model


class ErrorBody(BaseModel):
    """An error as the SDK reads it."""

    error: ErrorObject


DEFAULTS = Settings()

Form = tuple[str, type[BaseModel]]

ERROR: Form = ("ErrorResponse", ErrorBody)
WHOLE: dict[str, Form] = {
    "/v1/chat/completions": ("CreateChatCompletionResponse", ChatCompletion),
    "/v1/completions": ("CreateCompletionResponse", Completion),
    "/v1/models": ("ListModelsResponse", SyncPage[Model]),
}
CHUNK: dict[str, Form] = {
    "/v1/chat/completions": ("CreateChatCompletionStreamResponse", ChatCompletionChunk),
    "/v1/completions": ("CreateCompletionResponse", Completion),
}


class CheckedTransport(httpx.ASGITransport):
    """Serves requests in process; an answer that is not OpenAI's fails the test."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(app, raise_app_exceptions=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        await response.aread()
        if request.method not in ("HEAD", "OPTIONS"):
            problems = list(departures(request.url.path, response))
            assert not problems, problems
        return response


@cache
def gateway(settings: Settings) -> tuple[FastAPI, Models]:
    """Return an application and its models, made once: that takes longer than a request."""
    models = Models()
    return create_app(settings, models), models


def client(engine: FakeEngine, settings: Settings = DEFAULTS) -> httpx.AsyncClient:
    """Return a client of a gateway that serves the model `tiny` from this engine."""
    app, models = gateway(settings)
    models.add(tiny_model(engine))
    headers = {"content-type": "application/json"}
    transport = CheckedTransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)


def is_stream(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type")).startswith("text/event-stream")


def events(response: httpx.Response) -> list[Any]:
    """Return the parsed data of every event of a stream; [DONE] as it is."""
    data = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


def departures(path: str, response: httpx.Response) -> Iterator[str]:
    """Yield how a response departs from the forms it may have."""
    if is_stream(response):
        for document in events(response):
            if document != "[DONE]":
                yield from _departures(document, ERROR if "error" in document else CHUNK[path])
    elif response.status_code >= 400 and not path.startswith("/health"):
        yield from _departures(response.json(), ERROR)
    elif path in WHOLE:
        yield from _departures(response.json(), WHOLE[path])
    elif path.startswith("/v1/models/"):
        yield from _departures(response.json(), ("Model", Model))


def _departures(document: Any, form: Form) -> Iterator[str]:
    schema, sdk_type = form
    if openai_spec.PATH.exists():
        yield from openai_spec.violations(schema, document)
    try:
        sdk_type.model_validate(_as_sdk_reads(document, sdk_type))
    except ValidationError as error:
        yield f"{sdk_type.__name__}: {error}"


def _as_sdk_reads(document: Any, sdk_type: type[BaseModel]) -> Any:
    """Completion streams have no finish reason before their end, which the SDK's type forgets."""
    if sdk_type is not Completion:
        return document
    choices = [
        {**choice, "finish_reason": choice["finish_reason"] or "stop"}
        for choice in document["choices"]
    ]
    return {**document, "choices": choices}
