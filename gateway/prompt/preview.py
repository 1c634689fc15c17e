"""What a conversation in a file becomes for a model, for people to look at. Serves nobody."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
from rich.text import Text as StyledText

from gateway.errors import InvalidRequest
from gateway.generation import Prompt
from gateway.prompt.conversation import Conversation, Message, Role, Tool, ToolCall
from gateway.prompt.pieces import Control, Piece
from gateway.prompt.renderer import PromptRenderer
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer


@dataclass(frozen=True)
class Preview:
    """A rendered prompt, ready to be printed."""

    pieces: list[Piece]
    prompt: Prompt

    def to_json(self) -> str:
        """Return `{"tokens": [...], "text": "..."}` on one line."""
        return json.dumps({"tokens": self.prompt.token_ids, "text": self.prompt.text})

    def to_styled(self) -> StyledText:
        """Return the prompt with its control tokens set apart, then the ids and their count."""
        styled = StyledText()
        for piece in self.pieces:
            styled.append(piece.text, "bold cyan" if isinstance(piece, Control) else "")
        ids = " ".join(map(str, self.prompt.token_ids))
        styled.append(f"\n\n{ids}\n{len(self.prompt.token_ids)} tokens", "dim")
        return styled


def render_file(tokenizer_dir: Path, template_name: str | None, stream: IO[bytes]) -> Preview:
    """Render a conversation in OpenAI's JSON: `{"messages": [...], ...}`, or only the messages.

    Raises InvalidRequest for a conversation that is none or has no form in the template,
    ValueError or OSError where the tokenizer or its template cannot be used.
    """
    conversation = read_conversation(stream.read())
    tokenizer = Tokenizer.load(tokenizer_dir)
    renderer = PromptRenderer(tokenizer, template_for(tokenizer, template_name))
    return Preview(renderer.pieces(conversation), renderer.render(conversation))


def read_conversation(source: bytes) -> Conversation:
    """Return the conversation that OpenAI-shaped JSON tells; raise InvalidRequest if it is none."""
    try:
        body = msgspec.json.decode(source, type=_Body | list[_Message])
        body = body if isinstance(body, _Body) else _Body(messages=body)
        return Conversation(
            messages=tuple(message.read() for message in body.messages),
            tools=tuple(tool.function.read() for tool in body.tools or ()),
            add_generation_prompt=body.add_generation_prompt,
            continue_final_message=body.continue_final_message,
            template_kwargs=body.chat_template_kwargs or {},
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidRequest(f"This is not a conversation: {error}", param="messages") from error


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    function: _CalledFunction
    id: str = ""


class _Part(msgspec.Struct):
    text: str


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    def read(self) -> Message:
        parts = self.content if isinstance(self.content, list) else ()
        calls = ((call.id, call.function) for call in self.tool_calls or ())
        return Message(
            role=Role(self.role),
            content=self.content
            if isinstance(self.content, str)
            else "".join(p.text for p in parts),
            tool_calls=tuple(ToolCall(number, made.name, made.arguments) for number, made in calls),
            tool_call_id=self.tool_call_id,
            name=self.name,
        )


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None

    def read(self) -> Tool:
        return Tool(name=self.name, description=self.description, parameters=self.parameters)


class _Tool(msgspec.Struct):
    function: _Function


class _Body(msgspec.Struct):
    messages: list[_Message]
    tools: list[_Tool] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: dict[str, Any] | None = None
