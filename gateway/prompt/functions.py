"""How functions and calls to them are written as JSON for a model. Parses no model output."""

import json
from typing import Any, NoReturn

from gateway.prompt.conversation import Tool, ToolCall


class Unread(dict[str, Any]):
    """Arguments that are no JSON object, as a model may leave them: cut, or in another notation.

    `text` is what it wrote. Templates that look for keys find none.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def __str__(self) -> str:
        return self.text


def tool_schema(tool: Tool) -> dict[str, Any]:
    """Return a tool as chat templates expect it: OpenAI's shape, absent fields left out."""
    fields = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    known = {name: value for name, value in fields.items() if value is not None}
    return {"type": "function", "function": known}


def call_arguments(call: ToolCall) -> dict[str, Any]:
    """Return a call's arguments as an object: empty where there are none, else Unread.

    Whatever a model was once answered with can be said to it again, so nothing is refused.
    """
    text = call.arguments.strip()
    if text in ("", "null"):
        return {}
    try:
        arguments = json.loads(text, parse_constant=_refuse_constant, strict=False)
    except (ValueError, RecursionError):
        return Unread(call.arguments)
    return arguments if isinstance(arguments, dict) else Unread(call.arguments)


def arguments_json(arguments: dict[str, Any]) -> str:
    """Return arguments as the model reads them: JSON, or what stands in its place."""
    if isinstance(arguments, Unread):
        return arguments.text
    return json.dumps(arguments, ensure_ascii=False)


def call_json(call: ToolCall) -> str:
    """Return a call in the form that models write by themselves."""
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{{"name": {name}, "parameters": {arguments_json(call_arguments(call))}}}'


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
