"""Structured output: what a caller wants an answer to follow, as the guide an engine takes.

Only what is wrong for every engine is refused here; compiling is the engine's business.
"""

import json
from collections.abc import Callable, Mapping

import orjson

from gateway.errors import InvalidRequest
from gateway.generation import Guide, GuideKind
from gateway.traffic.size import (
    MAX_GRAMMAR,
    MAX_GUIDE,
    MAX_OPTIONS,
    MAX_REGEX,
    MAX_SCHEMA,
    check_json,
    check_length,
)


def json_object_guide() -> Guide:
    """Any JSON object or array."""
    return Guide(GuideKind.JSON, schema='{"type":"object"}')


def json_schema_guide(schema: object, param: str) -> Guide:
    """Instances of a JSON schema, which is given as an object or as its JSON text."""
    if isinstance(schema, str):
        check_length(schema, MAX_SCHEMA, param)
        try:
            check_json(schema.encode(), repr(param), param)
            schema = orjson.loads(schema)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"{param!r} is not JSON: {error}.", param=param) from error
    if not isinstance(schema, Mapping):
        raise InvalidRequest(f"{param!r} must be a JSON schema, an object.", param=param)
    text = json_text(schema, param, MAX_SCHEMA)
    return Guide(GuideKind.JSON_SCHEMA, text, schema=text)


def json_text(value: object, param: str, most: int = MAX_GUIDE) -> str:
    """The JSON of what a caller gave, of `most` bytes.

    Raises InvalidRequest for one that is longer, and for numbers and depths beyond reason.
    """
    try:
        raw = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(
            f"{param!r} cannot be written as JSON: {error}.", param=param
        ) from error
    check_length(raw, most, param)
    return raw.decode()


def regex_guide(pattern: object, param: str) -> Guide:
    """Texts that a regular expression matches from start to end."""
    return Guide(GuideKind.REGEX, _text(pattern, param, MAX_REGEX))


def grammar_guide(grammar: object, param: str) -> Guide:
    """Texts that an EBNF grammar derives from its rule `root`."""
    return Guide(GuideKind.EBNF_GRAMMAR, _text(grammar, param, MAX_GRAMMAR))


def choice_guide(options: object, param: str) -> Guide:
    """Exactly one of several texts."""
    if not isinstance(options, list) or not options:
        raise InvalidRequest(f"{param!r} must be a list of at least one text.", param=param)
    check_length(options, MAX_OPTIONS, param, "texts")
    texts = [_text(option, f"{param}[{i}]", MAX_GRAMMAR) for i, option in enumerate(options)]
    grammar = f"root ::= {' | '.join(map(_literal, texts))}"
    check_length(grammar, MAX_GUIDE, param)
    return Guide(GuideKind.EBNF_GRAMMAR, grammar)


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


def _text(value: object, param: str, most: int) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{param!r} must be a text that is not empty.", param=param)
    check_length(value, most, param)
    return value


def _literal(text: str) -> str:
    """The text as an EBNF literal, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
