"""Parameters by the names that callers of gRPC know: paths through their request message."""

import re
from functools import cache

from google.protobuf.descriptor import Descriptor

from gateway.errors import GatewayError

GROUPS = frozenset({"Conversation", "Limits", "Output", "Sampling"})

RENAMED = {
    "guided_choice": "response_format.choice.texts",
    "guided_grammar": "response_format.grammar",
    "guided_regex": "response_format.regex",
    "stream_options": "output.continuous_usage",
}
"""Parameters that HTTP spells otherwise, whatever the request."""

RENAMED_IN = {
    "CompletionRequest": {"prompt": "prompts"},
    "DetokenizeRequest": {"tokens": "token_ids"},
    "GetModelRequest": {"model": "id"},
    "TokenizeRequest": {"prompt": "input"},
}


def field_path(param: str, request: Descriptor) -> str:
    """Return where in a request message a parameter of HTTP stands.

    What is not known there stays as it is: `messages[0].role` is `conversation.messages[0].role`.
    """
    matched = re.match(r"\w+", param)
    head = matched[0] if matched else param
    return _paths(request).get(head, head) + param[len(head) :]


def field_message(error: GatewayError, request: Descriptor) -> str:
    """Return the error's message with its parameters called what they are in the request."""
    names = RENAMED | RENAMED_IN.get(request.name, {})
    return re.sub(r"'(\w+)'", lambda m: f"'{names.get(m[1], m[1])}'", error.message)


@cache
def _paths(request: Descriptor) -> dict[str, str]:
    grouped = {
        inner.name: f"{field.name}.{inner.name}"
        for field in request.fields
        if field.message_type and field.message_type.name in GROUPS
        for inner in field.message_type.fields
    }
    return grouped | RENAMED | RENAMED_IN.get(request.name, {})
