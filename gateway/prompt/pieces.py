"""A prompt before it is tokens: control tokens by id, and text. Renders nothing."""

from typing import Protocol

import msgspec

from gateway.errors import InvalidRequest
from gateway.prompt.conversation import Conversation, Role


class Control(msgspec.Struct, frozen=True, gc=False):
    """A control token. It enters the prompt by its id; `text` is how it is written."""

    token_id: int
    text: str


class Text(msgspec.Struct, frozen=True, gc=False):
    """Text that becomes ordinary tokens whatever it spells, encoded apart from its neighbours."""

    text: str


Piece = Control | Text


class ChatTemplate(Protocol):
    """How one model family writes conversations.

    `name` is what configuration calls it; `knows_tools` tells whether it has a form for tools
    and for calls of them, and refuses neither.
    """

    @property
    def name(self) -> str: ...

    @property
    def knows_tools(self) -> bool: ...

    def render(self, conversation: Conversation) -> list[Piece]:
        """Return the prompt's pieces in order.

        Raises InvalidRequest, its param naming the message, where the template has no form for
        the conversation; anything else is a bug.
        """
        ...


def check_turns(conversation: Conversation) -> None:
    """Raise InvalidRequest unless there are messages, and the last can be continued if asked to."""
    if not conversation.messages:
        raise InvalidRequest("A conversation needs at least one message.", param="messages")
    if not conversation.continue_final_message:
        return
    final = conversation.messages[-1]
    if final.role is not Role.ASSISTANT or final.tool_calls:
        raise InvalidRequest(
            "continue_final_message needs a last message from the assistant, without tool calls.",
            param=f"messages[{len(conversation.messages) - 1}]",
        )


def joined(pieces: list[Piece]) -> list[Piece]:
    """Return the same prompt with neighbouring texts put together."""
    together: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Text) and together and isinstance(together[-1], Text):
            together[-1] = Text(together[-1].text + piece.text)
        else:
            together.append(piece)
    return [piece for piece in together if piece.text]
