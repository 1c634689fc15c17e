"""Python literals as JSON."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.output.tools.literal import literal_to_json

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ATOMS = st.none() | st.booleans() | st.integers() | FLOATS | TEXTS


def containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    keys = st.text("ab'\"", max_size=3)
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)


@settings(max_examples=1_000, deadline=None)
@given(st.recursive(ATOMS, containers, max_leaves=6))
def test_a_python_literal_becomes_the_json_of_its_value(value: object) -> None:
    assert json.loads(literal_to_json(repr(value))) == value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("'a\\x41\\u00e9\\U0001F600\\'\\q'", '"aAé😀\'\\\\q"', id="escapes"),
        pytest.param("'\\ud83d\\ude00'", '"😀"', id="surrogate-pair"),
        pytest.param("'\\U00110000'", '"\\\\U00110000"', id="no-such-character"),
        pytest.param("[.5, 5., 1_000, -3]", "[0.5, 5.0, 1000, -3]", id="numbers"),
        pytest.param("(1, 2,)", "[1, 2]", id="tuple"),
        pytest.param("{true: 1}", '"{true: 1}"', id="no-json-key"),
        pytest.param("f(x)", '"f(x)"', id="an-expression-is-its-source"),
        pytest.param("", '""', id="nothing"),
    ],
)
def test_a_literal_is_converted(source: str, expected: str) -> None:
    assert literal_to_json(source) == expected
