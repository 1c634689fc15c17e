"""`gateway render`: what a conversation in a file becomes for a model, for people to look at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson
from pydantic import Field, ValidationError
from rich.text import Text

from gateway.errors import InvalidRequest
from gateway.generation import Prompt
from gateway.openai.bodies import invalid_request
from gateway.openai.messages import parse_conversation
from gateway.openai.parts import ChatMessage, ConversationFields
from gateway.openai.tools import offered, parse_tool_choice, parse_tools
from gateway.prompt.conversation import Conversation
from gateway.prompt.pieces import Control, Piece
from gateway.prompt.renderer import PromptRenderer
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer


class _File(ConversationFields):
    messages: list[ChatMessage] = Field(min_length=1)


@dataclass(frozen=True)
class Preview:
    """A rendered prompt, ready to be printed."""

    pieces: list[Piece]
    prompt: Prompt

    def to_json(self) -> str:
        """Return `{"tokens": [...], "text": "..."}` on one line."""
        return json.dumps({"tokens": self.prompt.token_ids, "text": self.prompt.text})

    def to_styled(self) -> Text:
        """Return the prompt with its control tokens set apart, then the ids and their count."""
        styled = Text()
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
        value = orjson.loads(source)
        body = _File.model_validate({"messages": value} if isinstance(value, list) else value)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"This is not JSON: {error}") from error
    except ValidationError as error:
        raise invalid_request(error) from error
    tools = parse_tools(body)
    return parse_conversation(body, body.messages, offered(tools, parse_tool_choice(body, tools)))
