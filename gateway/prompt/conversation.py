"""What a caller says to a model, before any template: messages, tools, how to render them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Role(Enum):
    """Who speaks. `developer` is read as `system` by models that only know the latter."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the assistant made: `arguments` is a JSON object as text, as OpenAI carries it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `content` is the text parts joined; `tool_call_id` says what a tool answers."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call: `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages and tools to render into a prompt.

    `add_generation_prompt` opens the assistant's turn; `continue_final_message` leaves the last
    message, an assistant's, open for the model to go on with (one excludes the other).
    `template_kwargs` reach the chat template as they are.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
