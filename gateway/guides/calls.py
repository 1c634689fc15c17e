"""Tool choice, enforced: the form whose every text is a call that parsers read.

A call that must come is enforced from its first character. Under `auto` an answer may be any
text, so there is nothing to give an engine, unless that text is bound to a form of its own; but
`strict` tools are held to be such as could be enforced.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from gateway.errors import InvalidRequest
from gateway.guides.forms import Form, Language, schema_form
from gateway.output.tools.choice import Allowed, Named, Required, ToolChoice
from gateway.prompt.conversation import Tool

_ANSWER = "answer"

Numbered = tuple[int, Tool]
"""A tool with its place among all that are on offer."""


def call_form(tools: Sequence[Tool], choice: ToolChoice, parallel: bool) -> Form | None:
    """Return the form a choice calls for, or None where the model may also write text.

    A named tool is called once; of a required one there are several calls where `parallel`.
    """
    names = _callable_names(tools, choice)
    called = [(i, tool) for i, tool in enumerate(tools) if tool.name in names]
    if not called:
        return None
    call = _any_of(_calls(called))
    several = parallel and not isinstance(choice, Named)
    return _form(_several(call) if several else call, called)


def strict_form(tools: Sequence[Tool]) -> Form | None:
    """Return what `strict` tools must be fit for where nothing binds their calls, if any are."""
    strict = [(i, tool) for i, tool in enumerate(tools) if tool.strict]
    if not strict:
        return None
    return msgspec.structs.replace(_form(_any_of(_calls(strict)), strict), binds=False)


def form_beside(tools: Sequence[Tool], form: Form, parallel: bool) -> Form | None:
    """Return the form of an answer that is a call of a tool, or a text that `form` lets pass.

    None where the two cannot be one schema: the texts of `form` are not JSON. Raises
    InvalidRequest for a schema that is nested beyond reason.
    """
    if form.language is not Language.SCHEMA:
        return None
    called = list(enumerate(tools))
    calls = _calls(called)
    several = [_several(_any_of(calls))] if parallel else []
    forms = [*calls, *several, {"$ref": _place(_ANSWER)}]
    try:
        moved = _move_references(orjson.loads(form.text), _place(_ANSWER))
    except RecursionError as error:
        raise InvalidRequest("The schema is nested too deeply.", param=form.source) from error
    return _form({"anyOf": forms}, called, {_ANSWER: moved}, {_place(_ANSWER): form.param})


def _form(
    schema: Mapping[str, Any],
    called: Sequence[Numbered],
    definitions: Mapping[str, Any] = {},
    parts: Mapping[str, str] = {},
) -> Form:
    """Return the form of a schema that refers to tools, by the names it knows them by."""
    own = {_key(i): _parameters(tool, _place(_key(i))) for i, tool in called}
    params = {_place(_key(i)): tool.param for i, tool in called}
    whole = {**schema, "$defs": {**definitions, **own}}
    return schema_form(whole, "tools", parts={**parts, **params})


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


def _calls(called: Sequence[Numbered]) -> list[dict[str, Any]]:
    return [_call(tool.name, _place(_key(i))) for i, tool in called]


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
