"""What a caller wants an answer to follow, understood but not compiled yet."""

from collections.abc import Callable, Mapping
from enum import Enum

import msgspec
import orjson

from gateway.errors import InvalidRequest
from gateway.guides.errors import Unenforceable
from gateway.traffic.size import (
    MAX_GRAMMAR,
    MAX_GUIDE,
    MAX_OPTIONS,
    MAX_REGEX,
    MAX_SCHEMA,
    check_json,
    check_length,
)

_MAX_REASON = 300


class Language(Enum):
    """What a form is written in."""

    SCHEMA = "JSON schema"
    REGEX = "regular expression"
    GRAMMAR = "EBNF grammar"
    CHOICE = "list of texts"


class Form(msgspec.Struct, frozen=True):
    """What an answer must follow: `text` in its language, JSON for a schema or a choice.

    `param` is what is refused where no engine can be held to it, and `source` what an engine
    refuses that has no guides. `parts` are places of a schema that have parameters of their own.
    One that does not bind is compiled for its faults alone.
    """

    language: Language
    text: bytes
    param: str
    source: str = ""
    parts: Mapping[str, str] = {}
    binds: bool = True


def json_object_form(param: str = "response_format") -> Form:
    """Any JSON object."""
    return Form(Language.SCHEMA, b'{"type":"object"}', param)


def json_schema_form(schema: object, param: str) -> Form:
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
    return schema_form(schema, param, MAX_SCHEMA)


def schema_form(
    schema: Mapping[str, object],
    param: str,
    most: int = MAX_GUIDE,
    parts: Mapping[str, str] = {},
) -> Form:
    """Return the form of a schema. Raises InvalidRequest for one of more than `most` bytes."""
    try:
        text = orjson.dumps(schema)
    except orjson.JSONEncodeError as error:
        raise refusal(param, Unenforceable(str(error))) from error
    check_length(text, most, param)
    return Form(Language.SCHEMA, text, param, parts=parts)


def regex_form(pattern: object, param: str) -> Form:
    """Texts that a regular expression matches from start to end."""
    return Form(Language.REGEX, _text(pattern, param, MAX_REGEX), param)


def grammar_form(grammar: object, param: str) -> Form:
    """Texts that an EBNF grammar derives from its rule `root`."""
    return Form(Language.GRAMMAR, _text(grammar, param, MAX_GRAMMAR), param)


def choice_form(options: object, param: str) -> Form:
    """Exactly one of several texts."""
    if not isinstance(options, list) or not options:
        raise InvalidRequest(f"{param!r} must be a list of at least one text.", param=param)
    check_length(options, MAX_OPTIONS, param, "texts")
    for i, option in enumerate(options):
        _text(option, f"{param}[{i}]", MAX_GRAMMAR)
    text = orjson.dumps(options)
    check_length(text, MAX_GUIDE, param)
    return Form(Language.CHOICE, text, param)


def refusal(param: str, error: Unenforceable) -> InvalidRequest:
    """Return what tells a caller what of a parameter no engine can be held to."""
    reason = str(error)[:_MAX_REASON]
    return InvalidRequest(f"{param!r} cannot be enforced: {reason}.", param=param)


def _json_object_flag(flag: object, param: str) -> Form:
    if flag is not True:
        raise InvalidRequest(f"{param!r} must be true where it is given.", param=param)
    return json_object_form(param)


_BUILDERS: Mapping[str, Callable[[object, str], Form]] = {
    "json": json_schema_form,
    "regex": regex_form,
    "choice": choice_form,
    "grammar": grammar_form,
    "json_object": _json_object_flag,
}


def structured_outputs_form(given: Mapping[str, object], param: str) -> Form:
    """The one constraint that an object such as `{"regex": "a+"}` names."""
    set_keys = [key for key, value in given.items() if value is not None]
    if len(set_keys) != 1 or set_keys[0] not in _BUILDERS:
        names = ", ".join(_BUILDERS)
        raise InvalidRequest(f"{param!r} must have exactly one of {names}.", param=param)
    [key] = set_keys
    return _BUILDERS[key](given[key], f"{param}.{key}")


def _text(value: object, param: str, most: int) -> bytes:
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{param!r} must be a text that is not empty.", param=param)
    check_length(value, most, param)
    return _utf8(value, param)


def _utf8(text: str, param: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{param!r} holds half of a surrogate pair.", param=param) from error
