"""Structured output: what a caller wants an answer to follow, as the guide an engine takes.

Only what is wrong for every engine is refused here; compiling is the engine's business.
"""

import json
import re
from collections.abc import Callable, Mapping

import orjson

from gateway.errors import InvalidRequest
from gateway.generation import Guide, GuideKind


def json_object_guide() -> Guide:
    """Any JSON object or array."""
    return Guide(GuideKind.JSON)


def json_schema_guide(schema: object, param: str) -> Guide:
    """Instances of a JSON schema, which is given as an object or as its JSON text."""
    if isinstance(schema, str):
        try:
            schema = orjson.loads(schema)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"{param!r} is not JSON: {error}.", param=param) from error
    if not isinstance(schema, Mapping):
        raise InvalidRequest(f"{param!r} must be a JSON schema, an object.", param=param)
    return Guide(GuideKind.JSON_SCHEMA, json_text(schema, param))


def json_text(value: object, param: str) -> str:
    """The JSON of what a caller gave; raise InvalidRequest for numbers and depths beyond reason."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(
            f"{param!r} cannot be written as JSON: {error}.", param=param
        ) from error


def regex_guide(pattern: object, param: str) -> Guide:
    """Texts that a regular expression matches from start to end."""
    pattern = _text(pattern, param)
    try:
        re.compile(pattern)
    except re.error as error:
        raise InvalidRequest(
            f"{param!r} is not a regular expression: {error}.", param=param
        ) from error
    return Guide(GuideKind.REGEX, pattern)


def grammar_guide(grammar: object, param: str) -> Guide:
    """Texts that an EBNF grammar derives from its rule `root`."""
    return Guide(GuideKind.EBNF_GRAMMAR, _text(grammar, param))


def choice_guide(options: object, param: str) -> Guide:
    """Exactly one of several texts."""
    if not isinstance(options, list) or not options:
        raise InvalidRequest(f"{param!r} must be a list of at least one text.", param=param)
    literals = [_literal(_text(option, f"{param}[{i}]")) for i, option in enumerate(options)]
    return Guide(GuideKind.EBNF_GRAMMAR, f"root ::= {' | '.join(literals)}")


def _json_object_flag(flag: object, param: str) -> Guide:
    if flag is not True:
        raise InvalidRequest(f"{param!r} must be true where it is given.", param=param)
    return json_object_guide()


_BUILDERS: Mapping[str, Callable[[object, str], Guide]] = {
    "json": json_schema_guide,
    "regex": regex_guide,
    "choice": choice_guide,
    "grammar": grammar_guide,
    "json_object": _json_object_flag,
}


def structured_outputs_guide(given: Mapping[str, object], param: str) -> Guide:
    """The one constraint that an object such as `{"regex": "a+"}` names."""
    set_keys = [key for key, value in given.items() if value is not None]
    if len(set_keys) != 1 or set_keys[0] not in _BUILDERS:
        names = ", ".join(_BUILDERS)
        raise InvalidRequest(f"{param!r} must have exactly one of {names}.", param=param)
    [key] = set_keys
    return _BUILDERS[key](given[key], f"{param}.{key}")


def _text(value: object, param: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{param!r} must be a text that is not empty.", param=param)
    return value


def _literal(text: str) -> str:
    """The text as an EBNF literal, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
