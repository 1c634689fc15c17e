"""What a caller says to a model, before any template: messages, tools, how to render them."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec


class Role(Enum):
    """Who speaks. `developer` is read as `system` by models that only know the latter."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ToolCall(msgspec.Struct, frozen=True):
    """A call the assistant made: `arguments` is JSON text, or what the assistant left of it."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True):
    """One turn. `content` is the text parts joined; `tool_call_id` says what a tool answers."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class Tool(msgspec.Struct, frozen=True):
    """A function the model may call: `parameters` is a JSON schema, given as `param`."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool = False
    param: str = "tools"


class Conversation(msgspec.Struct, frozen=True):
    """Messages and tools to render into a prompt.

    `add_generation_prompt` opens the assistant's turn; `continue_final_message` leaves the last
    message, an assistant's, open for the model to go on with (one excludes the other).
    `template_kwargs` reach the chat template as they are.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    template_kwargs: Mapping[str, Any] = {}
