"""Requests to the gateway's gRPC server: one in process, and HTTP's bodies as messages."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.client import AsyncClient
from gateway.models import Models
from gateway.rpc.server import RpcServer
from gateway.server import free_port
from gateway.settings import Settings
from gateway.v1 import generation_pb2 as gen
from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.completion_pb2 import CompletionRequest, Prompt, TokenIds
from gateway.v1.conversation_pb2 import (
    AllowedTools,
    ContentPart,
    Conversation,
    Function,
    Message,
    Tool,
    ToolCall,
    ToolChoice,
)
from tests.fakes import FakeEngine, tiny_model

LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def server(models: Models, settings: Settings | None = None) -> AsyncIterator[RpcServer]:
    """Run a gRPC server that serves these models."""
    running = RpcServer(settings or Settings(), models, free_port(LOOPBACK, 0))
    await running.start()
    try:
        yield running
    finally:
        await running.stop(0)


@asynccontextmanager
async def client(
    engine: FakeEngine, settings: Settings | None = None
) -> AsyncIterator[AsyncClient]:
    """Connect to a server that serves the model `tiny` from this engine."""
    async with (
        server(Models([tiny_model(engine)]), settings) as running,
        AsyncClient(running.address) as connected,
    ):
        yield connected


def chat_request(body: dict[str, Any]) -> ChatCompletionRequest:
    """Return the message that asks what a body of HTTP does."""
    conversation = Conversation(
        messages=[_message(message) for message in body["messages"]],
        tools=[_tool(tool["function"]) for tool in body.get("tools", ())],
        tool_choice=_tool_choice(body["tool_choice"]) if "tool_choice" in body else None,
        reasoning_effort=body.get("reasoning_effort"),
        add_generation_prompt=body.get("add_generation_prompt"),
        continue_final_message=body.get("continue_final_message", False),
    )
    if "chat_template_kwargs" in body:
        conversation.chat_template_kwargs.update(body["chat_template_kwargs"])
    return ChatCompletionRequest(
        conversation=conversation,
        parallel_tool_calls=body.get("parallel_tool_calls"),
        echo=body.get("echo", False),
        **_generation(body),
    )


def completion_request(body: dict[str, Any]) -> CompletionRequest:
    """Return the message that asks what a body of HTTP does."""
    given = body["prompt"]
    prompts = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    return CompletionRequest(
        prompts=[
            Prompt(text=one) if isinstance(one, str) else Prompt(token_ids=TokenIds(ids=one))
            for one in prompts
        ],
        echo=body.get("echo", False),
        best_of=body.get("best_of"),
        **_generation(
            {
                **body,
                "logprobs": body.get("logprobs") is not None,
                "top_logprobs": body.get("logprobs") or 0,
            }
        ),
    )


def _generation(body: dict[str, Any]) -> dict[str, Any]:
    stop = body.get("stop", [])
    lists = {"stop": [stop] if isinstance(stop, str) else stop}
    bias = {int(token): value for token, value in body.get("logit_bias", {}).items()}
    return {
        "model": body["model"],
        "sampling": gen.Sampling(**_of(gen.Sampling, body, logit_bias=bias)),
        "limits": gen.Limits(**_of(gen.Limits, body, **lists)),
        "output": gen.Output(**_of(gen.Output, body)),
        "response_format": _form(body),
    }


def _of(message: Any, body: dict[str, Any], **instead: Any) -> dict[str, Any]:
    names = {field.name for field in message.DESCRIPTOR.fields}
    return {name: value for name, value in body.items() if name in names} | instead


def _form(body: dict[str, Any]) -> gen.ResponseFormat | None:
    if "guided_regex" in body:
        return gen.ResponseFormat(regex=body["guided_regex"])
    if "guided_grammar" in body:
        return gen.ResponseFormat(grammar=body["guided_grammar"])
    if "guided_choice" in body:
        return gen.ResponseFormat(choice=gen.ChoiceFormat(texts=body["guided_choice"]))
    form = body.get("response_format", {"type": None})
    if form["type"] == "json_object":
        return gen.ResponseFormat(json_object=gen.JsonObjectFormat())
    if form["type"] == "json_schema":
        given = form["json_schema"]
        schema = gen.JsonSchemaFormat(name=given["name"], schema=json.dumps(given["schema"]))
        return gen.ResponseFormat(json_schema=schema)
    return None


def _message(message: dict[str, Any]) -> Message:
    content = message.get("content")
    return Message(
        role=f"ROLE_{message['role'].upper()}",
        content=[ContentPart(text=content)] if content is not None else [],
        tool_calls=[
            ToolCall(id=call["id"], **call["function"]) for call in message.get("tool_calls", ())
        ],
        tool_call_id=message.get("tool_call_id"),
        name=message.get("name"),
    )


def _tool(function: dict[str, Any]) -> Tool:
    fields = dict(function)
    if "parameters" in fields:
        fields["parameters"] = json.dumps(fields["parameters"])
    return Tool(function=Function(**fields))


def _tool_choice(choice: Any) -> ToolChoice:
    if isinstance(choice, str):
        return ToolChoice(mode=f"TOOL_MODE_{choice.upper()}")
    if choice["type"] == "function":
        return ToolChoice(function=choice["function"]["name"])
    allowed = choice["allowed_tools"]
    return ToolChoice(
        allowed=AllowedTools(
            mode=f"TOOL_MODE_{allowed['mode'].upper()}",
            functions=[tool["function"]["name"] for tool in allowed["tools"]],
        )
    )
