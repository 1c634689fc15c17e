"""Guides: what callers ask for, and calls that must come, as grammars for the engine."""

import json
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.generation import Guide, GuideKind
from gateway.guides.calls import guide_beside, guide_for
from gateway.guides.forms import (
    choice_guide,
    grammar_guide,
    json_object_guide,
    json_schema_guide,
    regex_guide,
    structured_outputs_guide,
)
from gateway.guides.schema import schema_grammar
from gateway.output.tools.choice import Allowed, Auto, Named, NoTools, Required, ToolChoice
from gateway.output.tools.events import CallArguments, CallBegin, CallEnd
from gateway.output.tools.parsers import PARSERS
from gateway.prompt.conversation import Tool
from tests.unit.grammars import Grammar

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
    "required": ["value"],
}
NESTED = {"properties": {"inner": {"$ref": "#"}}, "additionalProperties": False}
TOOLS = (
    Tool("weather", parameters=CITY),
    Tool("tree", parameters={"$ref": "#/$defs/node", "$defs": {"node": NODE}}),
    Tool(
        "nest", parameters={"properties": {"inner": {"$ref": "#"}}, "additionalProperties": False}
    ),
    Tool("now"),
)


def call(name: str, **parameters: object) -> dict[str, object]:
    return {"name": name, "parameters": parameters}


WEATHER = call("weather", city="Paris")
TREE = call("tree", value=1, next={"value": 2})
NEST = call("nest", inner={"inner": {}})
NOW = call("now")


def allows(choice: ToolChoice, parallel: bool, answer: object) -> bool:
    guide = guide_for(TOOLS, choice, parallel)
    assert guide is not None and guide.kind is GuideKind.EBNF_GRAMMAR
    return Grammar(guide.text).accepts(json.dumps(answer))


@pytest.mark.parametrize(
    ("choice", "parallel", "answer"),
    [
        pytest.param(Required(), True, [WEATHER, TREE, NEST, NOW], id="several"),
        pytest.param(Required(), False, NEST, id="one"),
        pytest.param(Named("tree"), True, TREE, id="named"),
        pytest.param(Allowed(("now",), required=True), False, NOW, id="allowed"),
    ],
)
def test_a_forced_call_is_allowed_and_is_what_the_parser_reads(
    choice: ToolChoice, parallel: bool, answer: Any
) -> None:
    calls = answer if isinstance(answer, list) else [answer]
    parser = PARSERS["json"]([tool.name for tool in TOOLS])

    events = [*parser.push(json.dumps(answer)), *parser.finish()]

    assert allows(choice, parallel, answer)
    assert events == [
        event
        for call in calls
        for event in (
            CallBegin(call["name"]),
            CallArguments(json.dumps(call["parameters"])),
            CallEnd(),
        )
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "answer"),
    [
        pytest.param(Required(), True, [], id="no-call"),
        pytest.param(Required(), True, WEATHER, id="no-list"),
        pytest.param(Required(), False, [WEATHER], id="list"),
        pytest.param(Required(), False, "text", id="text"),
        pytest.param(Required(), False, call("delete"), id="undeclared"),
        pytest.param(Required(), False, call("weather"), id="incomplete"),
        pytest.param(Required(), False, {**WEATHER, "id": 1}, id="more-keys"),
        pytest.param(Required(), False, call("tree", value="x"), id="reference"),
        pytest.param(Required(), False, call("tree", value=1, next={}), id="deep-reference"),
        pytest.param(Required(), False, call("nest", inner={"a": 1}), id="reference-to-itself"),
        pytest.param(Required(), False, {**WEATHER, "parameters": 1}, id="no-object"),
        pytest.param(Required(), False, call("now", a=1), id="no-parameters"),
        pytest.param(Named("tree"), True, WEATHER, id="another-tool"),
        pytest.param(Named("tree"), True, [TREE], id="named-list"),
        pytest.param(Allowed(("now",), required=True), False, WEATHER, id="not-allowed"),
    ],
)
def test_anything_else_is_not_allowed(choice: ToolChoice, parallel: bool, answer: object) -> None:
    assert not allows(choice, parallel, answer)


@pytest.mark.parametrize("choice", [Auto(), NoTools(), Allowed(("now",))], ids=str)
def test_a_model_that_may_write_text_has_no_guide(choice: ToolChoice) -> None:
    assert guide_for(TOOLS, choice, parallel=True) is None


@pytest.mark.parametrize(
    ("choice", "param"),
    [(Required(), "tools[1].function.parameters"), (Named("b"), "tools[1].function.parameters")],
    ids=["required", "named"],
)
def test_the_tool_whose_parameters_cannot_be_enforced_is_named(
    choice: ToolChoice, param: str
) -> None:
    tools = (Tool("a", parameters=CITY), Tool("b", parameters={"properties": {"x": {"not": {}}}}))

    with pytest.raises(InvalidRequest, match="'not' is not enforced") as refusal:
        guide_for(tools, choice, parallel=False)

    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("guide", "expected"),
    [
        (json_object_guide(), schema_grammar({"type": "object"})),
        (json_schema_guide({"const": 1}, "p"), 'root ::= "1"'),
        (json_schema_guide('{"const": 1}', "p"), 'root ::= "1"'),
        (regex_guide("a+|[b-c]", "p"), "root ::= [a]+ | [b-c]"),
        (grammar_guide('root ::= "a"', "p"), 'root ::= "a"'),
        (
            choice_guide(["yes", 'a "b"\\\n\b', "é"], "p"),
            'root ::= "yes" | "a \\"b\\"\\\\\\n\\u0008" | "é"',
        ),
        (structured_outputs_guide({"regex": "a"}, "s"), "root ::= [a]"),
        (structured_outputs_guide({"json": {"const": 1}}, "s"), 'root ::= "1"'),
        (
            structured_outputs_guide({"json_object": True, "json": None}, "s"),
            schema_grammar({"type": "object"}),
        ),
    ],
)
def test_what_is_asked_for_becomes_a_grammar(guide: Guide, expected: str) -> None:
    assert guide == Guide(GuideKind.EBNF_GRAMMAR, expected)


@pytest.mark.parametrize(
    ("name", "value", "param", "message"),
    [
        ("json", "{", "s.json", "is not JSON"),
        ("json", [1], "s.json", "must be a JSON schema"),
        ("json", "true", "s.json", "must be a JSON schema"),
        ("regex", "a" * 4097, "s.regex", "has more than 4,096 characters"),
        ("json", {"type": "x"}, "s.json", "cannot be enforced: the type 'x' is not one of"),
        ("json", {"const": 2**70}, "s.json", "cannot be enforced"),
        ("regex", "(", "s.regex", "a parenthesis is not closed"),
        ("regex", "(" * 50_000, "s.regex", "has more than 4,096 characters"),
        ("regex", "(?i)a", "s.regex", "no flags"),
        ("grammar", "root ::= (", "s.grammar", "cannot be enforced: line 1"),
        ("regex", "", "s.regex", "must be a text that is not empty"),
        ("grammar", 1, "s.grammar", "must be a text that is not empty"),
        ("choice", ["a"] * 4097, "s.choice", "has more than 4,096 texts"),
        ("choice", [], "s.choice", "must be a list of at least one text"),
        ("choice", "ab", "s.choice", "must be a list of at least one text"),
        ("choice", ["a", ""], "s.choice[1]", "must be a text that is not empty"),
        ("json_object", False, "s.json_object", "must be true"),
        ("structural_tag", "x", "s", "must have exactly one of json, regex"),
    ],
)
def test_what_no_engine_could_follow_is_refused_by_name(
    name: str, value: object, param: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as refusal:
        structured_outputs_guide({name: value}, "s")

    assert refusal.value.param == param


@pytest.mark.parametrize("given", [{}, {"json": {}, "regex": "a"}], ids=["none", "two"])
def test_structured_outputs_name_exactly_one_constraint(given: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="must have exactly one of"):
        structured_outputs_guide(given, "structured_outputs")


NODES = {"$ref": "#/$defs/node", "$defs": {"node": NODE}}


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        pytest.param(WEATHER, True, id="a call"),
        pytest.param(TREE, True, id="a call whose arguments refer to themselves"),
        pytest.param({"value": 1, "next": {"value": 2}}, True, id="the form that was asked for"),
        pytest.param({"value": 1, "next": {"value": "2"}}, False, id="another form"),
        pytest.param(call("weather", city=5), False, id="arguments of another type"),
        pytest.param(call("other"), False, id="a call of another tool"),
    ],
)
def test_an_answer_beside_tools_is_a_call_or_has_its_form(
    answer: object, valid: bool, parallel: bool
) -> None:
    guide = guide_beside(TOOLS, json_schema_guide(NODES, "response_format"), parallel)

    assert guide is not None
    grammar = Grammar(guide.text)
    assert grammar.accepts(json.dumps(answer)) is valid
    assert grammar.accepts(json.dumps([WEATHER, NOW])) is parallel


@pytest.mark.parametrize("guide", [regex_guide("a", "p"), choice_guide(["a"], "p")])
def test_a_form_that_is_not_json_leaves_no_room_for_a_call(guide: Guide) -> None:
    assert guide_beside(TOOLS, guide, True) is None


def test_a_form_nested_beyond_reason_is_refused_by_name() -> None:
    depth = 1000
    schema = '{"not":' * depth + "{}" + "}" * depth
    guide = Guide(GuideKind.JSON_SCHEMA, schema, "guided_json", schema=schema)

    with pytest.raises(InvalidRequest) as refusal:
        guide_beside(TOOLS, guide, True)

    assert refusal.value.param == "guided_json"
