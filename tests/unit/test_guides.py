"""Guides: what callers ask for, and calls that must come, as grammars for the engine."""

import json
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.generation import GuideKind
from gateway.guides.calls import call_form, form_beside
from gateway.guides.compiler import GuideCompiler
from gateway.guides.forms import (
    Form,
    Language,
    choice_form,
    grammar_form,
    json_object_form,
    json_schema_form,
    regex_form,
    structured_outputs_form,
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


def bad(name: str, param: str) -> Tool:
    return Tool(name, parameters={"properties": {"x": {"not": {}}}}, strict=True, param=param)


WEATHER = call("weather", city="Paris")
TREE = call("tree", value=1, next={"value": 2})
NEST = call("nest", inner={"inner": {}})
NOW = call("now")


def compiled(form: Form | None) -> str:
    assert form is not None
    guide = GuideCompiler().compile(form)
    assert guide is not None and guide.kind is GuideKind.EBNF_GRAMMAR
    return guide.text


def allows(choice: ToolChoice, parallel: bool, answer: object) -> bool:
    return Grammar(compiled(call_form(TOOLS, choice, parallel))).accepts(json.dumps(answer))


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
    assert call_form(TOOLS, choice, parallel=True) is None


@pytest.mark.parametrize(
    ("choice", "param"),
    [(Required(), "tools[1].function.parameters"), (Named("b"), "tools[1].function.parameters")],
    ids=["required", "named"],
)
def test_the_tool_whose_parameters_cannot_be_enforced_is_named(
    choice: ToolChoice, param: str
) -> None:
    tools = (Tool("a", parameters=CITY), bad("b", "tools[1].function.parameters"))

    with pytest.raises(InvalidRequest, match="'not' is not enforced") as refusal:
        compiled(call_form(tools, choice, parallel=False))

    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (json_object_form(), schema_grammar({"type": "object"})),
        (json_schema_form({"const": 1}, "p"), 'root ::= "1"'),
        (json_schema_form('{"const": 1}', "p"), 'root ::= "1"'),
        (regex_form("a+|[b-c]", "p"), "root ::= [a]+ | [b-c]"),
        (grammar_form('root ::= "a"', "p"), 'root ::= "a"'),
        (
            choice_form(["yes", 'a "b"\\\n\b', "é"], "p"),
            'root ::= "yes" | "a \\"b\\"\\\\\\n\\u0008" | "é"',
        ),
        (structured_outputs_form({"regex": "a"}, "s"), "root ::= [a]"),
        (structured_outputs_form({"json": {"const": 1}}, "s"), 'root ::= "1"'),
        (
            structured_outputs_form({"json_object": True, "json": None}, "s"),
            schema_grammar({"type": "object"}),
        ),
    ],
)
def test_what_is_asked_for_becomes_a_grammar(form: Form, expected: str) -> None:
    assert compiled(form) == expected


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
        compiled(structured_outputs_form({name: value}, "s"))

    assert refusal.value.param == param


@pytest.mark.parametrize("given", [{}, {"json": {}, "regex": "a"}], ids=["none", "two"])
def test_structured_outputs_name_exactly_one_constraint(given: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="must have exactly one of"):
        structured_outputs_form(given, "structured_outputs")


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
    form = form_beside(TOOLS, json_schema_form(NODES, "response_format"), parallel)

    grammar = Grammar(compiled(form))
    assert grammar.accepts(json.dumps(answer)) is valid
    assert grammar.accepts(json.dumps([WEATHER, NOW])) is parallel


@pytest.mark.parametrize("form", [regex_form("a", "p"), choice_form(["a"], "p")])
def test_a_form_that_is_not_json_leaves_no_room_for_a_call(form: Form) -> None:
    assert form_beside(TOOLS, form, True) is None


def test_a_form_nested_beyond_reason_is_refused_by_name() -> None:
    depth = 1000
    schema = '{"not":' * depth + "{}" + "}" * depth
    form = Form(Language.SCHEMA, schema.encode(), "guided_json", "guided_json")

    with pytest.raises(InvalidRequest) as refusal:
        form_beside(TOOLS, form, True)

    assert refusal.value.param == "guided_json"
