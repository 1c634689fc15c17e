"""A typed client of the gateway's gRPC API. Needs nothing of the server's."""

from gateway.client.aio import AsyncClient
from gateway.client.errors import CallFailed
from gateway.client.prompts import (
    assistant,
    conversation,
    function,
    system,
    text_prompts,
    tool_result,
    user,
)
from gateway.client.sync import Client

__all__ = [
    "AsyncClient",
    "CallFailed",
    "Client",
    "assistant",
    "conversation",
    "function",
    "system",
    "text_prompts",
    "tool_result",
    "user",
]
