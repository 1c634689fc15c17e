"""Tool choice, enforced: the grammar whose every text is a call the `json` parser reads.

A call that must come is enforced from its first character. Under `auto` an answer may be any
text, so there is no grammar to give, for `strict` tools neither.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.generation import Guide, GuideKind
from gateway.output.tools.choice import Allowed, Named, Required, ToolChoice
from gateway.prompt.conversation import Tool


def guide_for(tools: Sequence[Tool], choice: ToolChoice, parallel: bool) -> Guide | None:
    """Return the guide a choice calls for, or None where the model may also write text.

    A named tool is called once; of a required one there are several calls where `parallel`.
    """
    names = _callable_names(tools, choice)
    called = [tool for tool in tools if tool.name in names]
    if not called:
        return None
    several = parallel and not isinstance(choice, Named)
    schema = _calls(called) if several else _call(called, "#")
    return Guide(GuideKind.JSON_SCHEMA, orjson.dumps(schema).decode())


def _callable_names(tools: Sequence[Tool], choice: ToolChoice) -> tuple[str, ...]:
    """Return the tools of which one must be called; none where none must."""
    if isinstance(choice, Named):
        return (choice.name,)
    if isinstance(choice, Required):
        return tuple(tool.name for tool in tools)
    return choice.names if isinstance(choice, Allowed) and choice.required else ()


def _calls(tools: Sequence[Tool]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": _call(tools, "#/items")}


def _call(tools: Sequence[Tool], place: str) -> dict[str, Any]:
    if len(tools) == 1:
        return _call_of(tools[0], place)
    return {"anyOf": [_call_of(tool, f"{place}/anyOf/{i}") for i, tool in enumerate(tools)]}


def _call_of(tool: Tool, place: str) -> dict[str, Any]:
    nothing = {"properties": {}, "additionalProperties": False}
    parameters = {"type": "object", **(tool.parameters or nothing)}
    moved = _move_references(parameters, f"{place}/properties/parameters")
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "parameters": moved},
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _move_references(schema: Any, place: str) -> Any:
    """Return a schema whose references to itself hold when it stands at `place` of a larger one."""
    if isinstance(schema, Mapping):
        moved = {key: _move_references(value, place) for key, value in schema.items()}
        reference = moved.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            moved["$ref"] = place + reference[1:]
        return moved
    if isinstance(schema, list):
        return [_move_references(item, place) for item in schema]
    return schema
