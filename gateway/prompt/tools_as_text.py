"""Tools for chat templates that have no form for them: told in words, called in JSON."""

import json
from collections.abc import Iterator

from msgspec.structs import replace

from gateway.prompt.conversation import Conversation, Message, Role, Tool
from gateway.prompt.functions import call_json, tool_schema
from gateway.prompt.pieces import ChatTemplate, Piece, check_turns

_INVITATION = (
    "You can call these functions, given as JSON schemas, one a line. To call one, answer with "
    'JSON alone, in the form {"name": the function, "parameters": {its arguments}}.'
)


class ToolsAsText:
    """Writes tools, calls and results as text of a template that only knows plain messages."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template

    knows_tools = True

    @property
    def name(self) -> str:
        return self._template.name

    def render(self, conversation: Conversation) -> list[Piece]:
        check_turns(conversation)
        messages = map(_plain, conversation.messages)
        told = tuple(_tell(conversation.tools, messages))
        return self._template.render(replace(conversation, messages=told, tools=()))


def _tell(tools: tuple[Tool, ...], messages: Iterator[Message]) -> Iterator[Message]:
    """Yield the messages, the tools told in the system message that opens them."""
    first = next(messages)
    if tools:
        schemas = [json.dumps(tool_schema(tool), ensure_ascii=False) for tool in tools]
        words = "\n".join([_INVITATION, *schemas])
        if first.role in (Role.SYSTEM, Role.DEVELOPER):
            first = replace(first, content=f"{first.content}\n\n{words}")
        else:
            yield Message(Role.SYSTEM, words)
    yield first
    yield from messages


def _plain(message: Message) -> Message:
    if message.role is Role.TOOL:
        return Message(Role.USER, f"The function returned:\n{message.content}")
    if not message.tool_calls:
        return message
    lines = [call_json(call) for call in message.tool_calls]
    content = "\n".join([message.content, *lines] if message.content else lines)
    return Message(Role.ASSISTANT, content)
