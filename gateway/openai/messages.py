"""OpenAI's messages and tools as a Conversation, each refusal naming the message at fault."""

import json
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from gateway.errors import InvalidRequest
from gateway.openai.parts import (
    ChatMessage,
    ContentPart,
    ConversationFields,
    FunctionCall,
    FunctionDefinition,
    MessageToolCall,
    ToolDefinition,
)
from gateway.prompt.conversation import Conversation, Message, Role, Tool, ToolCall

_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""The types of parts that are text, and the key under which it stands."""


def parse_conversation(
    body: ConversationFields, messages: Sequence[ChatMessage], tools: tuple[Tool, ...]
) -> Conversation:
    """Return what is to be rendered. Raises InvalidRequest naming the message at fault."""
    continues = bool(body.continue_final_message)
    if continues and body.add_generation_prompt:
        raise InvalidRequest(
            "'add_generation_prompt' opens a new message and 'continue_final_message' goes on "
            "with the last one: only one of them can be true.",
            param="continue_final_message",
        )
    kwargs = dict(body.chat_template_kwargs or {})
    if body.reasoning_effort is not None:
        kwargs.setdefault("reasoning_effort", body.reasoning_effort)
    return Conversation(
        messages=tuple(parse_message(m, f"messages[{i}]") for i, m in enumerate(messages)),
        tools=tools,
        add_generation_prompt=not continues and body.add_generation_prompt is not False,
        continue_final_message=continues,
        template_kwargs=kwargs,
    )


def parse_message(message: ChatMessage, where: str) -> Message:
    """Return one turn. `where` is its path, such as `messages[3]`."""
    if message.role == "tool" and not message.tool_call_id:
        raise InvalidRequest(
            "A tool message needs the id of the call it answers.", param=f"{where}.tool_call_id"
        )
    tool_calls = tuple(_tool_calls(message, where))
    may_be_silent = tool_calls or message.role in ("assistant", "function")
    if message.content is None and not may_be_silent:
        raise InvalidRequest("A message needs content.", param=f"{where}.content")
    return Message(
        role=Role.TOOL if message.role == "function" else Role(message.role),
        content=_text(message, f"{where}.content"),
        tool_calls=tool_calls,
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def _text(message: ChatMessage, where: str) -> str:
    content = message.content
    if content is None:
        return message.refusal or ""
    if isinstance(content, str):
        return content
    return "".join(_part_text(part, f"{where}[{i}]") for i, part in enumerate(content))


def _part_text(part: ContentPart | str, where: str) -> str:
    if isinstance(part, str):
        return part
    if part.type not in _TEXT_PARTS:
        raise InvalidRequest(
            f"Content of type {part.type!r} is not supported: this model reads text only.",
            param=where,
            code="unsupported_content",
        )
    key = _TEXT_PARTS[part.type]
    text = part.refusal if key == "refusal" else part.text
    if text is None:
        raise InvalidRequest(f"A part of type {part.type!r} needs {key!r}.", param=where)
    return text


def _tool_calls(message: ChatMessage, where: str) -> Iterator[ToolCall]:
    if message.function_call is not None:
        call = message.function_call
        yield ToolCall(id=call.name, name=call.name, arguments=_arguments(call))
    for i, tool_call in enumerate(message.tool_calls or ()):
        yield _tool_call(tool_call, f"{where}.tool_calls[{i}]")


def _tool_call(tool_call: MessageToolCall, where: str) -> ToolCall:
    if tool_call.type != "function" or tool_call.function is None:
        raise InvalidRequest("Only calls of type 'function' are known here.", param=where)
    function = tool_call.function
    return ToolCall(id=tool_call.id, name=function.name, arguments=_arguments(function))


def _arguments(call: FunctionCall) -> str:
    if isinstance(call.arguments, dict):
        return json.dumps(call.arguments, ensure_ascii=False)
    return call.arguments or ""


def parse_tool(tool: ToolDefinition, where: str) -> Tool:
    """Return one tool. `where` is its path, such as `tools[0]`."""
    if tool.type != "function":
        raise InvalidRequest(
            f"Tools of type {tool.type!r} are not supported: only 'function' is.", param=where
        )
    if tool.function:
        return parse_function(tool.function, f"{where}.function")
    return parse_function(_flat_function(tool, where), where)


def _flat_function(tool: ToolDefinition, where: str) -> FunctionDefinition:
    """Return the function whose fields stand beside the tool's type."""
    try:
        return FunctionDefinition.model_validate(tool.model_extra)
    except ValidationError as error:
        raise InvalidRequest(
            "A tool needs the form {'type': 'function', 'function': {'name': ..., 'description': "
            "..., 'parameters': {...}}}.",
            param=f"{where}.function",
        ) from error


def parse_function(function: FunctionDefinition, where: str) -> Tool:
    """Return a tool for a function definition."""
    return Tool(
        name=function.name,
        description=function.description,
        parameters=function.parameters,
        strict=bool(function.strict),
        param=f"{where}.parameters",
    )
