"""JSON schemas, with what is and is not an instance of them."""

from typing import Any

import pytest

from gateway.guides.strings import FORMATS

TEXT: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}
NODE = {
    "type": "object",
    "properties": {"value": INTEGER, "next": {"$ref": "#/$defs/node"}},
    "required": ["value"],
}
PERSON = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "mood": {"enum": ["calm", "glad", None, 1, 1.5, {"a": [1]}]},
        "tags": {"type": "array", "items": TEXT, "maxItems": 2},
    },
    "required": ["name", "tags"],
    "additionalProperties": False,
}
ALL_OF = {
    "allOf": [
        {"type": "object", "properties": {"a": INTEGER}, "required": ["a"]},
        {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
    ]
}
TAGGED = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"kind": {"const": kind}, kind: INTEGER},
            "required": ["kind"],
        }
        for kind in ("cat", "dog")
    ],
    "discriminator": {"propertyName": "kind"},
}


def number(kind: str, **bounds: float | bool) -> dict[str, Any]:
    return {"type": kind, **bounds}


SCHEMAS: dict[str, Any] = {
    "object": {"type": "object"},
    "anything": {},
    "person": PERSON,
    "all optional": {"properties": {name: TEXT for name in "abcde"}},
    "optional around": {"properties": {name: INTEGER for name in "abcde"}, "required": ["c"]},
    "open": {"properties": {"ab": TEXT, "ac": TEXT}, "additionalProperties": INTEGER},
    "open, one required": {
        "properties": {"ab": TEXT}, "required": ["x"], "additionalProperties": INTEGER,
    },
    "open to anything": {"properties": {"": INTEGER}, "additionalProperties": True},
    "no properties": {"type": "object", "properties": {}},
    "map": {"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 3},
    "map, not empty": {"type": "object", "additionalProperties": INTEGER, "minProperties": 1},
    "map of patterns": {"type": "object", "patternProperties": {"^x-[a-z]+$": INTEGER}},
    "map of names": {"type": "object", "propertyNames": {"enum": ["a", "b"]}},
    "empty object": {"type": "object", "additionalProperties": False},
    "list": {"type": "array", "items": INTEGER, "minItems": 1, "maxItems": 4},
    "list of anything": {"type": "array"},
    "tuple": {"type": "array", "prefixItems": [INTEGER, TEXT], "minItems": 2, "maxItems": 2},
    "tuple and more": {"prefixItems": [INTEGER], "items": TEXT, "minItems": 3},
    "recursion": {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    "recursion to itself": {"properties": {"inner": {"$ref": "#"}, "x": INTEGER}},
    "definitions": {"definitions": {"a/b": TEXT}, "$ref": "#/definitions/a~1b", "title": "x"},
    "reference with more": {"$defs": {"t": TEXT}, "$ref": "#/$defs/t", "maxLength": 3},
    "all of": ALL_OF,
    "all of one": {"allOf": [{"$ref": "#/$defs/n"}], "$defs": {"n": INTEGER}, "default": 1},
    "all of same property": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}},
            {"type": "object", "properties": {"a": {"type": "number", "maximum": 9}}},
        ]
    },
    "all of, closed": {
        "allOf": [
            {"type": "object", "properties": {"a": INTEGER, "b": TEXT}},
            {"type": "object", "properties": {"a": INTEGER}, "additionalProperties": False},
        ]
    },
    "any of": {"anyOf": [TEXT, {"type": "null"}, {"type": "array", "items": INTEGER}]},
    "any of required": {
        "type": "object",
        "properties": {"a": INTEGER, "b": INTEGER},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "one of types": {"oneOf": [TEXT, INTEGER]},
    "one of tagged": TAGGED,
    "types": {"type": ["string", "integer", "null"], "maxLength": 3, "minimum": 7},
    "constant": {"const": {"a": ["x", 1.5, True, None]}},
    "constants of a type": {"type": "string", "enum": ["a", 1, None, 'q"\\\n']},
    "length": {"type": "string", "minLength": 2, "maxLength": 5},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-\\d+(\\.[a-f0-9]{1,3})?$"},
    "pattern to escape": {"type": "string", "pattern": '^"\\\\[\\s"x]*.[^a]\\S\\W$'},
    "pattern and length": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4},
    "pattern beyond ASCII": {"type": "string", "pattern": "^[é-ëx]{2}[^ü]\\D$"},
    "open beside a name beyond ASCII": {
        "properties": {"é": TEXT, "xü": TEXT}, "additionalProperties": INTEGER,
    },
    "pattern of branches": {"type": "string", "pattern": "^a|b+?$|(?:c|(?P<d>d)){2}"},
    **{
        f"format {name}": {"type": "string", "format": name}
        for name in (*FORMATS, "uri")
    },
    **{
        f"{kind} {bounds}": number(kind, **bounds)
        for kind in ("integer", "number")
        for bounds in (
            {}, {"minimum": 0}, {"maximum": -1}, {"minimum": -17, "maximum": 1234},
            {"exclusiveMinimum": 0, "exclusiveMaximum": 100}, {"minimum": 5, "maximum": 5},
            {"minimum": -2**63, "maximum": 2**63 - 1}, {"minimum": 99.5}, {"maximum": 1e30},
        )
    },
    "fraction": number("number", minimum=0, maximum=1),
    "fractions": number("number", exclusiveMinimum=-0.25, exclusiveMaximum=12.75),
    "small": number("number", minimum=0.001, maximum=0.02),
}  # fmt: skip


_INSTANCES: dict[str, list[Any]] = {
    "object": [{}, {"a": {"b": [1, -2.5e3, "x", True, None, [], {}]}, "é": ""}],
    "anything": [1, "x", None, [1], {"a": 1}],
    "person": [
        {"name": "Ada", "tags": []},
        {"name": 'q"\\\n😀', "age": 130, "mood": {"a": [1]}, "tags": ["x", "y"]},
    ],
    "all optional": [{}, {"a": ""}, {"e": ""}, {"b": "", "d": ""}, dict.fromkeys("abcde", "x")],
    "optional around": [{"c": 1}, {"a": 1, "c": 2, "e": 3}, {"b": 1, "c": 1, "d": 1, "e": 1}],
    "open": [{}, {"ab": "x", "a": 1}, {"abc": 1, "": 2, "z": 3}, {"ac": "", "b": 1}],
    "open, one required": [{"x": 1}, {"ab": "", "x": 1, "y": 2}],
    "no properties": [{}],
    "map": [{}, {"a": True}, {"a": True, "b": False, "c": True}],
    "map of patterns": [{}, {"x-a": 1, "x-b": 2}],
    "map of names": [{"a": [1]}, {"b": None, "a": 1}],
    "list": [[1], [1, 2, 3, 4]],
    "tuple": [[1, "x"]],
    "tuple and more": [[1, "x", "y"], [1, "x", "y", "z"]],
    "recursion": [{"value": 1, "next": {"value": 2, "next": {"value": 3}}}],
    "recursion to itself": [{"inner": {"inner": {}}, "x": 1}],
    "all of": [{"a": 1, "b": True}],
    "all of same property": [{"a": 3}, {"a": 9}, {}],
    "all of, closed": [{"a": 1}],
    "any of": ["x", None, [1]],
    "any of required": [{"a": 1}, {"b": 1}, {"a": 1, "b": 2}],
    "one of tagged": [{"kind": "cat", "cat": 1}, {"kind": "dog"}],
    "types": ["abc", 7, None],
    "constant": [{"a": ["x", 1.5, True, None]}],
    "constants of a type": ["a", 'q"\\\n'],
    "pattern": ["AB-1", "ZZ-42.0f"],
    "pattern and length": ["a", "abcd"],
    "integer {}": [0, -1, 1234567890123456789],
    "integer {'minimum': -17, 'maximum': 1234}": [-17, -1, 0, 9, 10, 99, 100, 999, 1000, 1234],
    "integer {'exclusiveMinimum': 0, 'exclusiveMaximum': 100}": [1, 99],
    "number {}": [0, 1.5, -2e10, 1e-7],
    "number {'minimum': -17, 'maximum': 1234}": [-17, -16.99, -0.5, 0, 0.01, 1233.999, 1234],
    "fraction": [0, 0.5, 0.123456, 1],
    "fractions": [-0.24, 0, 12.7, 12.74999],
    "small": [0.001, 0.0015, 0.02, 0.01],
    "format date": ["2026-11-25"],
    "format date-time": ["2026-11-25T13:48:16Z", "2026-11-25T13:48:16.5+01:00"],
    "format email": ["a.b@example.com"],
}
ACCEPTED = [
    pytest.param(SCHEMAS[name], value, id=f"{name}-{position}")
    for name, values in _INSTANCES.items()
    for position, value in enumerate(values)
]

_OTHERS = {
    "object": [
        "[true]",
        "1",
        '"x"',
        "null",
        "{} ",
        '{"a":  1}',
        "{\n}",
        " {}",
        '{"a":"\\ud800"}',
    ],
    "person": ["{}", '{"tags":[],"name":""}', '{"name":"","tags":[],"x":1}'],
    "all of": ['"Tom"', '{"a":1}', '{"b":true}'],
    "all of, closed": ['{"a":1,"b":""}'],
    "open": ['{"x":"y"}', '{"a":1,"ab":1}', '{"a":1,"a\\u0062":1}'],
    "no properties": ['{"a":1}'],
    "list": ["[]", "[1,2,3,4,5]", "[1, ]", "[1,\n2]"],
    "integer {'minimum': -17, 'maximum': 1234}": ["-18", "1235", "01", "-0", "1.5", "2000"],
    "fractions": ["-0.25", "12.75", "12.750001", "13", "-1"],
    "small": ["0.0009", "0.021", "0.1", "0"],
    "number {}": ["1e999", "01", ".5", "NaN"],
}
NOT_ACCEPTED = [
    pytest.param(SCHEMAS[name], text, id=f"{name}-{position}")
    for name, texts in _OTHERS.items()
    for position, text in enumerate(texts)
]

REFUSED = [
    pytest.param(
        {"$ref": "https://example.com/a.json"}, "does not lead into this schema", id="remote"
    ),
    pytest.param({"$ref": "#/$defs/none"}, "leads nowhere", id="undefined"),
    pytest.param({"$ref": "#"}, "refers to itself", id="itself"),
    pytest.param({"allOf": [{"$ref": "#"}]}, "do not refer to themselves", id="all of itself"),
    pytest.param({"anyOf": [{"$ref": "#"}, TEXT]}, "refers to itself", id="any of itself"),
    pytest.param({"type": "nonsense"}, "the type 'nonsense' is not one of", id="type"),
    pytest.param({"allOf": [TEXT, INTEGER]}, "of the types", id="two types"),
    pytest.param(
        {"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "two 'pattern'", id="two patterns"
    ),
    pytest.param({"properties": {"a": {"not": {}}}}, r"'not' .*at properties/a", id="not"),
    pytest.param({"if": {}, "then": {}}, "'if' is not enforced|'then' is not enforced", id="if"),
    pytest.param({"type": "array", "uniqueItems": True}, "uniqueItems", id="unique"),
    pytest.param({"type": "array", "contains": {}}, "contains", id="contains"),
    pytest.param({"type": "number", "multipleOf": 0.1}, "multipleOf", id="multiples"),
    pytest.param({"dependentRequired": {}}, "dependentRequired", id="dependencies"),
    pytest.param({"type": "string", "pattern": "("}, "a parenthesis is not closed", id="pattern"),
    pytest.param({"pattern": "(?=x)a"}, "no looking around", id="looking ahead"),
    pytest.param({"pattern": "(a)\\1"}, "is not known", id="reference back"),
    pytest.param({"pattern": "a$b"}, "can only stand at", id="anchor"),
    pytest.param(
        {"pattern": "^(a|bb)+$", "maxLength": 3}, "beside a length", id="pattern and length"
    ),
    pytest.param({"pattern": "^[\u4e00-\u9fa5]$"}, "may name 256 beyond ASCII", id="class"),
    pytest.param({"oneOf": [INTEGER, {"type": "number"}]}, "use 'anyOf'", id="one of"),
    pytest.param({"enum": []}, "no value can be valid", id="empty enum"),
    pytest.param({"const": 1, "type": "string"}, "no value can be valid", id="constant of no type"),
    pytest.param({"enum": [1, 5], "minimum": 3}, "beside 'enum'", id="enum and more"),
    pytest.param({"minimum": 5, "maximum": 4}, "no number lies between", id="no number"),
    pytest.param(
        {"minimum": 10, "exclusiveMinimum": True, "maximum": 10}, "no number", id="draft 4"
    ),
    pytest.param({"minLength": 5, "maxLength": 4}, "is above", id="no length"),
    pytest.param({"minLength": "5"}, "wrong type|whole number", id="length of no type"),
    pytest.param({"properties": 5}, "wrong type|object of schemas", id="properties of no type"),
    pytest.param({"required": {"a": 1}}, "list of names", id="required of no type"),
    pytest.param(
        {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "no finite value", id="endless"
    ),
    pytest.param(
        {"required": ["a"], "additionalProperties": False}, "no value can be valid", id="missing"
    ),
]
