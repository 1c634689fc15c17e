"""Conversations and a clock that the prompt tests share."""

from datetime import datetime

from gateway.prompt.conversation import Message, Role, Tool, ToolCall

WEATHER = Tool(
    "weather",
    "The forecast for a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CALL = ToolCall("call_1", "weather", '{"city": "Tromsø", "days": 2}')
CHAT = (
    Message(Role.SYSTEM, "Be brief."),
    Message(Role.USER, "Hello"),
    Message(Role.ASSISTANT, "Hi!"),
    Message(Role.USER, "Rain?"),
)
TOOL_CHAT = (
    *CHAT,
    Message(Role.ASSISTANT, tool_calls=(CALL,)),
    Message(Role.TOOL, '{"rain": "5 mm"}', tool_call_id="call_1"),
)


def fixed_clock() -> datetime:
    """The day after Llama 3.2 was published."""
    return datetime(2024, 9, 26)
