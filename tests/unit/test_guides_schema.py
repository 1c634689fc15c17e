"""JSON schemas as grammars: every text is an instance, and refused is what cannot be held to."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.guides.errors import Unenforceable
from gateway.guides.schema import schema_grammar
from tests.unit.grammars import Grammar
from tests.unit.schemas import ACCEPTED, NOT_ACCEPTED, REFUSED, SCHEMAS

NUM_TEXTS = 25


def texts_of(schema: Any, seed: int) -> list[str]:
    grammar = Grammar(schema_grammar(schema))
    draw = random.Random(seed)
    return [grammar.derive(draw) for _ in range(NUM_TEXTS)]


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_text_is_an_instance_and_compact(schema: Any) -> None:
    validator = Draft202012Validator(schema)

    values = [(text, json.loads(text)) for text in texts_of(schema, 1)]

    assert [text for text, value in values if not validator.is_valid(value)] == []
    assert all("\n" not in text for text, _ in values)


@pytest.mark.parametrize(("schema", "value"), ACCEPTED)
def test_instances_are_accepted_compact_and_with_single_spaces(schema: Any, value: Any) -> None:
    grammar = Grammar(schema_grammar(schema))

    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    spaced = json.dumps(value, ensure_ascii=False)

    assert grammar.accepts(compact)
    assert grammar.accepts(spaced)


@pytest.mark.parametrize(("schema", "text"), NOT_ACCEPTED)
def test_other_texts_are_not(schema: Any, text: str) -> None:
    assert not Grammar(schema_grammar(schema)).accepts(text)


@pytest.mark.parametrize(("schema", "reason"), REFUSED)
def test_what_cannot_be_enforced_is_refused(schema: Any, reason: str) -> None:
    with pytest.raises(Unenforceable, match=reason):
        schema_grammar(schema)


names = st.sampled_from(["a", "b", "c", 'q"', "é"])
scalars = st.one_of(
    st.builds(dict, type=st.sampled_from(["string", "integer", "number", "boolean", "null"])),
    st.builds(
        lambda values: {"enum": values}, st.lists(st.none() | st.integers() | st.text(), min_size=1)
    ),
    st.builds(
        lambda kind, low, size: {"type": kind, "minimum": low, "maximum": low + size},
        st.sampled_from(["integer", "number"]),
        st.integers(-2000, 2000) | st.decimals(-20, 20, places=2).map(float),
        st.integers(1, 3000),
    ),
    st.builds(
        lambda low, size: {"type": "string", "minLength": low, "maxLength": low + size},
        st.integers(0, 5),
        st.integers(0, 5),
    ),
)


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda properties, required, more: {
            "type": "object",
            "properties": properties,
            "required": [name for name in required if name in properties],
            **more,
        },
        st.dictionaries(names, values, max_size=4),
        st.lists(names, unique=True),
        st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": True}]),
    )


def arrays(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda items, low, size: {
            "type": "array", "items": items, "minItems": low, "maxItems": low + size,
        },
        values, st.integers(0, 2), st.integers(0, 2),
    )  # fmt: skip


schemas = st.recursive(
    scalars,
    lambda inner: st.one_of(
        objects(inner),
        arrays(inner),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda all_of: {"allOf": all_of}, st.lists(objects(inner), min_size=2, max_size=2)
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(schemas, st.integers(0, 2**32))
def test_any_schema_is_enforced_or_refused(schema: Any, seed: int) -> None:
    try:
        texts = texts_of(schema, seed)
    except Unenforceable:
        return

    validator = Draft202012Validator(schema)
    assert [text for text in texts if not validator.is_valid(json.loads(text))] == []


KEYWORDS = (
    "type", "properties", "required", "items", "prefixItems", "enum", "const", "anyOf", "oneOf",
    "allOf", "$ref", "minimum", "maxLength", "minItems", "pattern", "format", "minProperties",
    "additionalProperties", "patternProperties", "propertyNames", "multipleOf", "maxProperties",
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYWORDS) | st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYWORDS), anything, min_size=1, max_size=4))
def test_no_nonsense_breaks_the_compiler(schema: dict[str, Any]) -> None:
    try:
        text = schema_grammar(schema)
    except Unenforceable:
        return

    assert text.startswith("root ::= ")


def wide(count: int, **more: Any) -> dict[str, Any]:
    return {"properties": {f"k{i}": {"type": "string"} for i in range(count)}, **more}


def test_a_grammar_grows_with_the_schema_and_not_faster() -> None:
    small, large = (len(schema_grammar(wide(count))) for count in (60, 240))

    assert large < 5 * small


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(wide(5000), id="properties"),
        pytest.param({"enum": list(range(100_000))}, id="enum"),
        pytest.param({"anyOf": [{"const": i} for i in range(100_000)]}, id="anyOf"),
        pytest.param({"allOf": [wide(1)] * 100_000}, id="allOf"),
        pytest.param(wide(200, anyOf=[{"required": [f"k{i}"]} for i in range(200)]), id="product"),
        pytest.param(
            {
                "$ref": "#/$defs/a0",
                "$defs": {
                    f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(50)
                },
            },
            id="doubling",
        ),
        pytest.param({"type": "string", "pattern": "(" * 50_000}, id="pattern"),
        pytest.param({"type": "string", "pattern": "((a{99}){99}){99}"}, id="repeats"),
    ],
)
def test_what_would_take_long_is_refused(schema: Any) -> None:
    with pytest.raises(Unenforceable):
        schema_grammar(schema)
