"""Tool choice, enforced: the grammar whose every text is a call that parsers read.

A call that must come is enforced from its first character. Under `auto` an answer may be any
text, so there is no grammar to give, for `strict` tools neither; unless that text is bound to a
form of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.errors import InvalidRequest
from gateway.generation import Guide, GuideKind
from gateway.guides.errors import Unenforceable
from gateway.guides.forms import compiled_schema, refused
from gateway.output.tools.choice import Allowed, Named, Required, ToolChoice
from gateway.prompt.conversation import Tool

_ANSWER = "answer"


def guide_for(tools: Sequence[Tool], choice: ToolChoice, parallel: bool) -> Guide | None:
    """Return the guide a choice calls for, or None where the model may also write text.

    A named tool is called once; of a required one there are several calls where `parallel`.
    """
    names = _callable_names(tools, choice)
    called = [tool for tool in tools if tool.name in names]
    if not called:
        return None
    call = _any_of(_calls(called))
    several = parallel and not isinstance(choice, Named)
    schema = _several(call) if several else call
    return _guide({**schema, "$defs": _definitions(called)}, tools, names)


def guide_beside(tools: Sequence[Tool], guide: Guide, parallel: bool) -> Guide | None:
    """Return the guide of an answer that is a call of a tool, or a text that `guide` lets pass.

    None where the two cannot be one schema: the texts of `guide` are not JSON. Raises
    InvalidRequest for a schema that is nested beyond reason, and as `guide_for` does.
    """
    if not guide.schema:
        return None
    answer = orjson.loads(guide.schema)
    calls = _calls(tools)
    several = [_several(_any_of(calls))] if parallel else []
    forms = [*calls, *several, {"$ref": _place(_ANSWER)}]
    try:
        moved = _move_references(answer, _place(_ANSWER))
    except RecursionError as error:
        raise InvalidRequest("The schema is nested too deeply.", param=guide.source) from error
    schema = {"anyOf": forms, "$defs": {_ANSWER: moved, **_definitions(tools)}}
    return _guide(schema, tools, tuple(tool.name for tool in tools))


def _guide(schema: Mapping[str, Any], tools: Sequence[Tool], names: tuple[str, ...]) -> Guide:
    try:
        grammar = compiled_schema(schema, "tools")
    except Unenforceable as error:
        _name_the_cause(tools, names)
        raise InvalidRequest(f"'tools' cannot be enforced: {error}.", param="tools") from error
    return Guide(GuideKind.EBNF_GRAMMAR, grammar)


def _name_the_cause(tools: Sequence[Tool], names: tuple[str, ...]) -> None:
    """Raise InvalidRequest for the first tool whose parameters no engine can be held to."""
    for i, tool in enumerate(tools):
        if tool.name in names:
            param = f"tools[{i}].function.parameters"
            with refused(param):
                compiled_schema(_parameters(tool, "#"), param)


def _callable_names(tools: Sequence[Tool], choice: ToolChoice) -> tuple[str, ...]:
    """Return the tools of which one must be called; none where none must."""
    if isinstance(choice, Named):
        return (choice.name,)
    if isinstance(choice, Required):
        return tuple(tool.name for tool in tools)
    return choice.names if isinstance(choice, Allowed) and choice.required else ()


def _key(position: int) -> str:
    return f"parameters_{position}"


def _place(key: str) -> str:
    """Where a part stands: engines follow references through objects, not arrays."""
    return f"#/$defs/{key}"


def _calls(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    return [_call(tool.name, _place(_key(i))) for i, tool in enumerate(tools)]


def _definitions(tools: Sequence[Tool]) -> dict[str, Any]:
    return {_key(i): _parameters(tool, _place(_key(i))) for i, tool in enumerate(tools)}


def _several(call: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": call}


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _call(name: str, place: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "parameters": {"$ref": place}},
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _parameters(tool: Tool, place: str) -> Any:
    nothing = {"properties": {}, "additionalProperties": False}
    return _move_references({"type": "object", **(tool.parameters or nothing)}, place)


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
