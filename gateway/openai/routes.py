"""The paths of OpenAI's API, and no logic: read, parse, answer."""

from typing import Annotated, TypeVar

import orjson
from fastapi import APIRouter, Path, Request, Response

from gateway.http.disconnect import unless_gone
from gateway.http.sse import FrameStream
from gateway.models import Model, Models
from gateway.openai.answers import (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    DetokenizedText,
    ModelAnswer,
    ModelList,
    TokenList,
)
from gateway.openai.application import Application
from gateway.openai.bodies import read_body
from gateway.openai.chat import ChatFrames, chat_reply, collect_chat
from gateway.openai.chat_task import ChatTask, parse_chat
from gateway.openai.completion_task import CompletionTask, parse_completion
from gateway.openai.completions import CompletionFrames, collect_completion, completion_replies
from gateway.openai.reference import GENERATING, READING, answers, reads
from gateway.openai.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
)
from gateway.openai.shapes import JsonObject
from gateway.openai.tokens import detokenize, tokenize
from gateway.settings import Settings
from gateway.traffic.size import MAX_WORD
from gateway.under_way import UnderWay

NamesModel = TypeVar("NamesModel", TokenizeRequest, DetokenizeRequest)
ModelPath = Annotated[str, Path(json_schema_extra={"maxLength": MAX_WORD})]


def add_openai_routes(app: Application, settings: Settings, models: Models) -> None:
    """Put the routes under /v1 on the application."""

    async def create_chat_completion(request: Request) -> Response:
        def understand(body: ChatCompletionRequest) -> ChatTask:
            return parse_chat(body, models.find(body.model), settings.strict)

        task = await read_body(request, ChatCompletionRequest, settings, understand)
        return await unless_gone(request, chat_response(task, settings, app.under_way))

    async def create_completion(request: Request) -> Response:
        def understand(body: CompletionRequest) -> CompletionTask:
            return parse_completion(body, models.find(body.model), settings.strict)

        task = await read_body(request, CompletionRequest, settings, understand)
        return await unless_gone(request, completion_response(task, settings, app.under_way))

    app.add_generating(
        "/v1/chat/completions",
        create_chat_completion,
        openapi_extra=reads(ChatCompletionRequest),
        responses=answers(ChatCompletion, ChatCompletionChunk, GENERATING),
    )
    app.add_generating(
        "/v1/completions",
        create_completion,
        openapi_extra=reads(CompletionRequest),
        responses=answers(Completion, Completion, GENERATING),
    )
    app.include_router(model_routes(models), prefix="/v1")
    app.include_router(token_routes(settings, models), prefix="/v1")


async def chat_response(task: ChatTask, settings: Settings, under_way: UnderWay) -> Response:
    """Return a chat's answer, streamed or whole."""
    reply = await chat_reply(task)
    if task.is_stream:
        return FrameStream(ChatFrames(task, reply), settings.keep_alive_s, under_way)
    return _json(await collect_chat(task, reply))


async def completion_response(
    task: CompletionTask, settings: Settings, under_way: UnderWay
) -> Response:
    """Return a completion, streamed or whole."""
    replies = await completion_replies(task)
    if task.is_stream:
        return FrameStream(CompletionFrames(task, replies), settings.keep_alive_s, under_way)
    return _json(await collect_completion(task, replies))


def token_routes(settings: Settings, models: Models) -> APIRouter:
    """Return the routes between text and tokens."""
    router = APIRouter()

    def with_model(body: NamesModel) -> tuple[NamesModel, Model]:
        return body, models.find(body.model)

    @router.post(
        "/tokenize",
        openapi_extra=reads(TokenizeRequest),
        responses=answers(TokenList, errors=READING),
    )
    async def tokenize_text(request: Request) -> Response:
        body, model = await read_body(request, TokenizeRequest, settings, with_model)
        return _json(await unless_gone(request, tokenize(body, model)))

    @router.post(
        "/detokenize",
        openapi_extra=reads(DetokenizeRequest),
        responses=answers(DetokenizedText, errors=READING),
    )
    async def detokenize_tokens(request: Request) -> Response:
        body, model = await read_body(request, DetokenizeRequest, settings, with_model)
        return _json(await unless_gone(request, detokenize(body, model)))

    return router


def model_routes(models: Models) -> APIRouter:
    """Return the routes that tell which models there are."""
    router = APIRouter()

    @router.get("/models", responses=answers(ModelList))
    async def list_models() -> Response:
        return _json({"object": "list", "data": [model_object(model) for model in models.shown()]})

    @router.get("/models/{model_id:path}", responses=answers(ModelAnswer, errors=(404, 500, 503)))
    async def retrieve_model(model_id: ModelPath) -> Response:
        return _json(model_object(models.find(model_id)))

    return router


def model_object(model: Model) -> JsonObject:
    """Return Model of the OpenAI API reference, with extensions.

    `max_model_len` is in tokens; `features` are those of the engine; `parent` is the id of the
    model that a LoRA adapter is for.
    """
    parent = {"parent": model.parent} if model.parent else {}
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "max_model_len": model.max_model_len,
        "features": sorted(feature.name.lower() for feature in model.engine.features),
        **parent,
    }


def _json(content: JsonObject) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
