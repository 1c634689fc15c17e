"""The form of an answer, told to a model that may call a function instead.

A grammar holds the answer to one or the other, but does not tell the model that there are two:
of 40 answers of SmolLM2 under such a grammar all were calls, of 20 with the form told 11.
"""

from msgspec.structs import replace

from gateway.prompt.conversation import Conversation, Message, Role

_SYSTEM = (Role.SYSTEM, Role.DEVELOPER)


def tell_form(conversation: Conversation, schema: str) -> Conversation:
    """Return a conversation whose system message ends with the answer's JSON schema."""
    words = (
        "If you do not call a function, answer with JSON alone that follows this JSON schema:\n"
        f"{schema}"
    )
    first, *rest = conversation.messages
    if first.role in _SYSTEM:
        opening = [replace(first, content=f"{first.content}\n\n{words}")]
    else:
        opening = [Message(Role.SYSTEM, words), first]
    return replace(conversation, messages=(*opening, *rest))
