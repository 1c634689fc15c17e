"""The paths of OpenAI's API, and no logic: read, parse, answer."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from gateway.models import Model, Models
from gateway.openai.bodies import read_body, schema_of
from gateway.openai.chat import collect_chat, stream_chat
from gateway.openai.chat_task import parse_chat
from gateway.openai.disconnect import unless_gone
from gateway.openai.schemas import ChatCompletionRequest
from gateway.openai.sse import event_stream
from gateway.output.answer import Answer
from gateway.reply import Reply
from gateway.settings import Settings


def openai_routes(settings: Settings, models: Models) -> APIRouter:
    """Return the routes under /v1."""
    router = APIRouter(prefix="/v1")

    @router.post("/chat/completions", openapi_extra=schema_of(ChatCompletionRequest))
    async def create_chat_completion(request: Request) -> Response:
        body = await read_body(request, ChatCompletionRequest, settings.max_body_bytes)
        task = parse_chat(body, models.find(body.model), settings.strict)
        prompt = await task.model.renderer.render_async(task.conversation)
        answer = Answer(task.spec, task.model.vocabulary)
        reply = Reply(task.model.engine, task.draft.complete(prompt), answer)
        if task.is_stream:
            frames = stream_chat(task, reply)
            stream = event_stream(frames, settings.keep_alive_s, settings.drain_s)
            return await unless_gone(request, stream)
        return _json(await unless_gone(request, collect_chat(task, reply)))

    @router.get("/models")
    async def list_models() -> Response:
        return _json({"object": "list", "data": [model_object(model) for model in models]})

    @router.get("/models/{model_id:path}")
    async def retrieve_model(model_id: str) -> Response:
        return _json(model_object(models.find(model_id)))

    return router


def model_object(model: Model) -> dict[str, Any]:
    """Return Model of the OpenAI API reference; `max_model_len` is an extension, in tokens."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "max_model_len": model.max_model_len,
    }


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
