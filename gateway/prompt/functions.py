"""How functions and calls to them are written as JSON for a model. Parses no model output."""

import json
from typing import Any, NoReturn

from gateway.errors import InvalidRequest
from gateway.prompt.conversation import Tool, ToolCall


def tool_schema(tool: Tool) -> dict[str, Any]:
    """Return a tool as chat templates expect it: OpenAI's shape, absent fields left out."""
    fields = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    known = {name: value for name, value in fields.items() if value is not None}
    return {"type": "function", "function": known}


def call_arguments(call: ToolCall, param: str) -> dict[str, Any]:
    """Return a call's arguments as an object; raise InvalidRequest naming `param` otherwise."""
    try:
        arguments = json.loads(call.arguments, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The arguments are not JSON: {error}", param=param) from error
    if not isinstance(arguments, dict):
        raise InvalidRequest("The arguments are not a JSON object.", param=param)
    return arguments


def arguments_param(message: int, call: int) -> str:
    """Return the name under which a caller finds the arguments of a call."""
    return f"messages[{message}].tool_calls[{call}].function.arguments"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
