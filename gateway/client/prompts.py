"""Short ways to write what requests are made of."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.v1.completion_pb2 import Prompt
from gateway.v1.conversation_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    ContentPart,
    Conversation,
    Function,
    Message,
    Tool,
    ToolCall,
)


def system(text: str) -> Message:
    """Return a turn of whoever runs the application."""
    return Message(role=ROLE_SYSTEM, content=[ContentPart(text=text)])


def user(text: str) -> Message:
    """Return a turn of whoever asks."""
    return Message(role=ROLE_USER, content=[ContentPart(text=text)])


def assistant(text: str = "", tool_calls: Iterable[ToolCall] = ()) -> Message:
    """Return a turn of the model's: what it said, and what it called."""
    content = [ContentPart(text=text)] if text else []
    return Message(role=ROLE_ASSISTANT, content=content, tool_calls=tool_calls)


def tool_result(call: ToolCall, text: str) -> Message:
    """Return the turn that answers a call."""
    return Message(role=ROLE_TOOL, content=[ContentPart(text=text)], tool_call_id=call.id)


def conversation(*messages: Message, tools: Iterable[Tool] = ()) -> Conversation:
    """Return what a chat prompt is rendered from."""
    return Conversation(messages=messages, tools=tools)


def function(name: str, description: str, parameters: Mapping[str, Any]) -> Tool:
    """Return a function the model may call; `parameters` is a JSON schema."""
    schema = json.dumps(parameters)
    return Tool(function=Function(name=name, description=description, parameters=schema))


def text_prompts(*texts: str) -> list[Prompt]:
    """Return prompts of raw text."""
    return [Prompt(text=text) for text in texts]
