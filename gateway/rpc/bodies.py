"""Request messages as the bodies that HTTP takes, so that both are understood by the same code."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import Struct, Value
from pydantic import BaseModel, ValidationError

from gateway.errors import InvalidRequest
from gateway.openai.bodies import INLINE_BYTES, invalid_request
from gateway.openai.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
)
from gateway.rpc.wire import check_message
from gateway.traffic.size import MAX_SCHEMA, check_json, check_length
from gateway.v1 import chat_pb2, completion_pb2, conversation_pb2, generation_pb2, tokenize_pb2

Json = dict[str, Any]
Body = TypeVar("Body", bound=BaseModel)
Request = TypeVar("Request", bound=Message)
T = TypeVar("T")

MODES = {
    conversation_pb2.TOOL_MODE_NONE: "none",
    conversation_pb2.TOOL_MODE_AUTO: "auto",
    conversation_pb2.TOOL_MODE_REQUIRED: "required",
}


async def read_message(raw: bytes, message: type[Request], understand: Callable[[Request], T]) -> T:
    """Return what is understood of a serialized request; of a large one off the event loop.

    Raises InvalidRequest for what is too much before it is parsed, and for what is no such message.
    """

    def read() -> T:
        check_message(raw, message)
        try:
            request = message.FromString(raw)
        except DecodeError as error:
            raise InvalidRequest(f"This is no {message.DESCRIPTOR.full_name}.") from error
        return understand(request)

    return read() if len(raw) <= INLINE_BYTES else await asyncio.to_thread(read)


def chat_body(request: chat_pb2.ChatCompletionRequest, is_stream: bool) -> ChatCompletionRequest:
    """Return the body that asks the same over HTTP. Raises InvalidRequest."""
    body = {
        **_conversation(request.conversation),
        **_generation(request, is_stream),
        "echo": request.echo,
    }
    if request.HasField("parallel_tool_calls"):
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return _validated(ChatCompletionRequest, body)


def completion_body(
    request: completion_pb2.CompletionRequest, is_stream: bool
) -> CompletionRequest:
    """Return the body that asks the same over HTTP. Raises InvalidRequest."""
    body = {**_generation(request, is_stream), **_reading(request), "echo": request.echo}
    body["prompt"] = _prompts(request)
    num_top = body.pop("top_logprobs", 0)
    if body.pop("logprobs", False):
        body["logprobs"] = num_top
    elif num_top:
        raise InvalidRequest("'top_logprobs' needs 'logprobs'.", param="top_logprobs")
    if request.HasField("best_of"):
        body["best_of"] = request.best_of
    return _validated(CompletionRequest, body)


def tokenize_body(request: tokenize_pb2.TokenizeRequest) -> TokenizeRequest:
    """Return the body that asks the same over HTTP. Raises InvalidRequest."""
    body: Json = {"model": request.model, **_reading(request)}
    if request.HasField("text"):
        body["prompt"] = request.text
    if request.HasField("conversation"):
        body |= _conversation(request.conversation)
    return _validated(TokenizeRequest, body)


def detokenize_body(request: tokenize_pb2.DetokenizeRequest) -> DetokenizeRequest:
    """Return the body that asks the same over HTTP. Raises InvalidRequest."""
    body = {"model": request.model, "tokens": list(request.token_ids)}
    return _validated(DetokenizeRequest, body)


def _reading(
    request: completion_pb2.CompletionRequest | tokenize_pb2.TokenizeRequest,
) -> Json:
    """Return how text becomes tokens."""
    reading: Json = {"parse_special_tokens": request.parse_special_tokens}
    if request.HasField("add_special_tokens"):
        reading["add_special_tokens"] = request.add_special_tokens
    return reading


def _validated(schema: type[Body], body: Json) -> Body:
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        raise invalid_request(error) from error


def _scalars(message: Message) -> Json:
    """Return the fields that are set, by name, without those that are messages themselves."""
    return {
        field.name: list(value) if field.is_repeated else value
        for field, value in message.ListFields()
        if field.message_type is None
    }


def _generation(
    request: chat_pb2.ChatCompletionRequest | completion_pb2.CompletionRequest, is_stream: bool
) -> Json:
    body = {
        "model": request.model,
        "stream": is_stream,
        **_scalars(request.sampling),
        **_scalars(request.limits),
        **_scalars(request.output),
        **_form(request.response_format),
    }
    if body.pop("continuous_usage", False):
        body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    if request.sampling.logit_bias:
        body["logit_bias"] = {str(token): b for token, b in request.sampling.logit_bias.items()}
    return body


def _form(form: generation_pb2.ResponseFormat) -> Json:
    kind = form.WhichOneof("format")
    if kind == "json_schema":
        schema = {**_scalars(form.json_schema), "name": form.json_schema.name}
        if form.json_schema.schema:
            param = "response_format.json_schema.schema"
            schema["schema"] = _parsed(form.json_schema.schema, param)
        return {"response_format": {"type": kind, "json_schema": schema}}
    if kind == "regex":
        return {"guided_regex": form.regex}
    if kind == "grammar":
        return {"guided_grammar": form.grammar}
    if kind == "choice":
        return {"guided_choice": list(form.choice.texts)}
    return {"response_format": {"type": kind}} if kind else {}


def _conversation(conversation: conversation_pb2.Conversation) -> Json:
    body = _scalars(conversation)
    body["messages"] = [_message(message) for message in conversation.messages]
    if conversation.tools:
        texts = "\n".join([tool.function.parameters for tool in conversation.tools])
        check_json(texts.encode(), "'tools'", "tools")
        body["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(conversation.tools)]
    if conversation.HasField("tool_choice"):
        body["tool_choice"] = _tool_choice(conversation.tool_choice)
    if conversation.HasField("chat_template_kwargs"):
        body["chat_template_kwargs"] = _struct(conversation.chat_template_kwargs)
    return body


def _message(message: conversation_pb2.Message) -> Json:
    body = _scalars(message)
    if message.role:
        body["role"] = _role(message.role)
    if message.content:
        body["content"] = [_part(part) for part in message.content]
    if message.tool_calls:
        body["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    return body


def _role(role: int) -> str:
    """Return the role's name; a number that has none is left for the schema to refuse."""
    names = conversation_pb2.Role.DESCRIPTOR.values_by_number
    return str(names[role].name.removeprefix("ROLE_").lower()) if role in names else str(role)


def _part(part: conversation_pb2.ContentPart) -> Json:
    kind = part.WhichOneof("part") or ""
    return {"type": kind, **_scalars(part)}


def _tool_call(call: conversation_pb2.ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _tool(tool: conversation_pb2.Tool, param: str) -> Json:
    kind = tool.WhichOneof("tool")
    if kind is None:
        return {"type": ""}
    function = {**_scalars(tool.function), "name": tool.function.name}
    if "parameters" in function:
        function["parameters"] = _parsed(function["parameters"], f"{param}.function.parameters")
    return {"type": kind, "function": function}


def _tool_choice(choice: conversation_pb2.ToolChoice) -> str | Json | None:
    kind = choice.WhichOneof("choice")
    if kind == "mode":
        return MODES.get(choice.mode, "unspecified")
    if kind == "function":
        return {"type": "function", "function": {"name": choice.function}}
    if kind == "allowed":
        tools = [{"type": "function", "name": name} for name in choice.allowed.functions]
        mode = MODES.get(choice.allowed.mode, "unspecified")
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
    return None


def _prompts(request: completion_pb2.CompletionRequest) -> list[str] | list[list[int]]:
    kinds = {prompt.WhichOneof("prompt") for prompt in request.prompts}
    if kinds == {"text"}:
        return [prompt.text for prompt in request.prompts]
    if kinds == {"token_ids"}:
        return [list(prompt.token_ids.ids) for prompt in request.prompts]
    raise InvalidRequest(
        "'prompts' must hold at least one prompt, all of text or all of token ids.", param="prompts"
    )


def _parsed(text: str, param: str) -> Any:
    check_length(text, MAX_SCHEMA, param)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{param!r} is not JSON: {error}.", param=param) from error


def _struct(struct: Struct) -> Json:
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    if kind == "number_value" and value.number_value.is_integer():
        return int(value.number_value)
    return None if kind in (None, "null_value") else getattr(value, kind)
