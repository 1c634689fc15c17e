"""What a caller wants an answer to follow, as the guide an engine takes.

Whatever it is, it becomes a grammar here, checked and in the words that all engines share. An
engine that finds a fault itself may end every request it has in hand (TensorRT-LLM's
guidedDecoder.cpp compiles within its loop).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import orjson

from gateway.errors import InvalidRequest
from gateway.generation import Guide, GuideKind
from gateway.guides.ebnf import check_grammar
from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import Literal, choice, ebnf
from gateway.guides.regex import pattern_grammar
from gateway.guides.schema import schema_grammar
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


def json_object_guide() -> Guide:
    """Any JSON object."""
    schema = '{"type":"object"}'
    return Guide(GuideKind.EBNF_GRAMMAR, _compiled(schema.encode()), schema=schema)


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
    with refused(param):
        grammar = compiled_schema(schema, param, MAX_SCHEMA)
    return Guide(GuideKind.EBNF_GRAMMAR, grammar, schema=orjson.dumps(schema).decode())


def compiled_schema(schema: Mapping[str, object], param: str, most: int = MAX_GUIDE) -> str:
    """Return the grammar of a schema of `most` bytes; short ones are remembered, few long ones.

    Raises Unenforceable, and InvalidRequest for one that is longer.
    """
    try:
        text = orjson.dumps(schema)
    except orjson.JSONEncodeError as error:
        raise Unenforceable(str(error)) from error
    check_length(text, most, param)
    return (_short if len(text) <= _SHORT_BYTES else _long)(text)


def _compiled(schema: bytes) -> str:
    return schema_grammar(orjson.loads(schema))


_SHORT_BYTES = 2**13
_short = lru_cache(maxsize=128)(_compiled)
_long = lru_cache(maxsize=4)(_compiled)


def regex_guide(pattern: object, param: str) -> Guide:
    """Texts that a regular expression matches from start to end."""
    with refused(param):
        node = pattern_grammar(_text(pattern, param, MAX_REGEX))
        return Guide(GuideKind.EBNF_GRAMMAR, ebnf({"root": node}))


def grammar_guide(grammar: object, param: str) -> Guide:
    """Texts that an EBNF grammar derives from its rule `root`."""
    text = _text(grammar, param, MAX_GRAMMAR)
    with refused(param):
        check_grammar(text)
    return Guide(GuideKind.EBNF_GRAMMAR, text)


def choice_guide(options: object, param: str) -> Guide:
    """Exactly one of several texts."""
    if not isinstance(options, list) or not options:
        raise InvalidRequest(f"{param!r} must be a list of at least one text.", param=param)
    check_length(options, MAX_OPTIONS, param, "texts")
    texts = [_text(option, f"{param}[{i}]", MAX_GRAMMAR) for i, option in enumerate(options)]
    grammar = ebnf({"root": choice(*map(Literal, texts))})
    check_length(grammar, MAX_GUIDE, param)
    return Guide(GuideKind.EBNF_GRAMMAR, grammar)


@contextmanager
def refused(param: str) -> Iterator[None]:
    """Tell a caller what of a parameter no engine can be held to."""
    try:
        yield
    except Unenforceable as error:
        reason = str(error)[:_MAX_REASON]
        raise InvalidRequest(f"{param!r} cannot be enforced: {reason}.", param=param) from error


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
