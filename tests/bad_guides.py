"""Guides that no engine could follow, or that would take one down, as callers may send them."""

from typing import Any, NamedTuple

SCHEMA = "response_format.json_schema.schema"
PARAMETERS = "tools[0].function.parameters"


class BadGuide(NamedTuple):
    """Parameters of a chat, and the one that its refusal names."""

    name: str
    fields: dict[str, Any]
    param: str

    @property
    def is_typed(self) -> bool:
        """Whether messages of gRPC have a place for it."""
        form = self.fields.get("response_format", {})
        return "structured_outputs" not in self.fields and form.get("type") != "structural_tag"


def _schema(name: str, schema: Any) -> BadGuide:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    return BadGuide(name, {"response_format": form}, SCHEMA)


def _regex(name: str, pattern: str) -> BadGuide:
    return BadGuide(name, {"guided_regex": pattern}, "guided_regex")


def _grammar(name: str, text: str) -> BadGuide:
    return BadGuide(name, {"guided_grammar": text}, "guided_grammar")


def _tools(name: str, parameters: Any, choice: str, **function: Any) -> BadGuide:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters, **function}}
    return BadGuide(name, {"tools": [tool], "tool_choice": choice}, PARAMETERS)


def _doubled(depth: int) -> dict[str, Any]:
    parts = {f"{i}": {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(depth)}
    return {"$ref": "#/$defs/0", "minLength": 1, "$defs": {**parts, f"{depth}": {"minLength": 2}}}


_STRINGS = {f"p{i}": {"type": "string"} for i in range(3000)}
_ENDLESS = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
_OPTIONS = {"propertyNames": {"enum": [f"{i}" for i in range(900)]}, "anyOf": [True] * 500}
_TAG = {"response_format": {"type": "structural_tag"}}
_OUTPUTS = {"structured_outputs": {"regex": "("}}
_NAMES = [f"name {i}" for i in range(2000)]

BAD_GUIDES = (
    _schema("unknown type", {"type": "nonsense"}),
    _schema("reference to nothing", {"$ref": "#/$defs/none"}),
    _schema("remote reference", {"$ref": "https://example.com/schema.json"}),
    _schema("reference to itself", {"$ref": "#"}),
    _schema("no finite value", _ENDLESS),
    _schema("pattern that breaks off", {"type": "string", "pattern": "("}),
    _schema("pattern that looks ahead", {"type": "string", "pattern": "(?=x)a"}),
    _schema("negation", {"not": {"type": "string"}}),
    _schema("condition", {"if": {"type": "string"}, "then": {"minLength": 1}}),
    _schema("nothing allowed", {"allOf": [{"type": "string"}, {"type": "integer"}]}),
    _schema("empty enum", {"enum": []}),
    _schema("bounds the wrong way", {"type": "integer", "minimum": 5, "maximum": 4}),
    _schema("thousands of properties", {"type": "object", "properties": _STRINGS}),
    _schema("thousands of values", {"enum": _NAMES}),
    _schema("doubled eleven times", _doubled(11)),
    _schema("names beside options", _OPTIONS),
    _schema("overlapping oneOf", {"oneOf": [{"type": "string"}, {"minLength": 2}]}),
    _schema("keyword of the wrong type", {"type": "object", "properties": [1]}),
    _regex("parenthesis", "("),
    _regex("reference back", "(a)\\1"),
    _regex("looking ahead", "(?=x)a"),
    _regex("Unicode class", "\\p{L}+"),
    _regex("exponential", "((((((a{1,99}){1,99}){1,99}){1,99}){1,99}){1,99})"),
    _regex("deep", "(" * 2000 + ")" * 2000),
    _regex("no character", "[^\\s\\S]"),
    _grammar("breaks off", "root ::= ("),
    _grammar("no grammar", "not a grammar"),
    _grammar("unknown rule", "root ::= undefined_rule"),
    _grammar("left-recursive", 'root ::= root "a" | "b"'),
    _grammar("left-recursive around corners", 'root ::= a\na ::= ""? b\nb ::= a "x" | "y"'),
    _grammar("empty language", 'root ::= "a" root'),
    _grammar("control byte", 'root ::= "\x00"'),
    _grammar("looking ahead", 'root ::= (= "a") "a"'),
    _grammar("exponential", 'root ::= (((("a"{999}){999}){999}){999}){999}'),
    _grammar("macro", 'root ::= TagDispatch(("a", b))\nb ::= "x"'),
    _grammar("huge", "root ::= " + '"a" ' * 9000),
    BadGuide("no choice", {"guided_choice": [""]}, "guided_choice[0]"),
    BadGuide("structured outputs", _OUTPUTS, "structured_outputs.regex"),
    BadGuide("structural tag", _TAG, "response_format.type"),
    _tools("forced call", {"properties": {"x": {"type": "odd"}}}, "required"),
    _tools("strict tool", {"properties": {"x": {"$ref": "#/none"}}}, "auto", strict=True),
)  # fmt: skip
