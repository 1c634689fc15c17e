"""JSON schemas as grammars: what cannot be enforced wholly is refused, never left out.

Every text of the grammar is an instance; it may be narrower than the schema: properties come in
the order in which they are declared, none are added to an object that declares some unless
`additionalProperties` says so, and numbers, long strings and white space are bounded.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from gateway.guides.arrays import array
from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import Node, Reference, choice, ebnf, is_productive, num_nodes
from gateway.guides.json_text import BOOLEAN, NULL, RULES, constant
from gateway.guides.merge import Schema, constraints, identity, merged
from gateway.guides.numbers import Bounds
from gateway.guides.objects import object_grammar
from gateway.guides.overlap import check_disjoint
from gateway.guides.strings import string_grammar

MAX_DEPTH = 64
MAX_WORK = 6_000
MAX_CONSTANTS = 1_000
MAX_GRAMMAR_CHARACTERS = 128 * 1024

_UNENFORCED = (
    "$dynamicRef", "$recursiveRef", "additionalItems", "contains", "dependencies",
    "dependentRequired", "dependentSchemas", "else", "if", "maxContains", "minContains", "not",
    "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_KEYWORDS = {
    "object": (
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
        "minProperties", "maxProperties",
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}  # fmt: skip
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def schema_grammar(schema: Schema) -> str:
    """Return the EBNF of a schema's instances. Raises Unenforceable, saying what and where."""
    try:
        rules = Compiler(schema).rules()
    except (TypeError, AttributeError, ValueError, LookupError) as error:
        raise Unenforceable("a keyword has a value of the wrong type") from error
    if not is_productive(rules):
        raise Unenforceable("no finite value can be valid")
    text = ebnf(rules)
    if len(text) > MAX_GRAMMAR_CHARACTERS:
        raise Unenforceable("it is too large for a grammar")
    return text


class Compiler:
    """Turns one schema, and what it refers to, into rules."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._rules: dict[str, Node] = {}
        self._places: dict[str, str] = {}
        self._depth = 0
        self._work = 0
        self._opening: list[str] = []  # references on the way to the first character of a value

    def rules(self) -> dict[str, Node]:
        root = self.value(self._schema, "#")
        return {"root": root, **RULES, **self._rules}

    def rule(self, node: Node) -> Reference:
        """Return a reference to a new rule."""
        name = f"r{len(self._rules)}"
        self._rules[name] = node
        return Reference(name)

    def inner(self, schema: Any, where: str) -> Node:
        """Return a value that stands within another: characters come before it."""
        opening, self._opening = self._opening, []
        node = self.value(schema, where)
        self._opening = opening
        return node

    def value(self, schema: Any, where: str) -> Node:
        """Return the grammar of a schema; `where` is its place, for refusals."""
        self._charge(1)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unenforceable(f"schemas are nested deeper than {MAX_DEPTH}")
        try:
            return self._value(schema)
        except Unenforceable as error:
            raise (
                error if "(at " in str(error) else Unenforceable(f"{error} (at {where})")
            ) from error
        finally:
            self._depth -= 1

    def _value(self, schema: Any) -> Node:
        if schema is True:
            return Reference("value")
        if schema is False:
            raise Unenforceable("no value can be valid")
        if not isinstance(schema, Mapping):
            raise Unenforceable("a schema is an object, true or false")
        plain = constraints(schema)
        if set(plain) == {"$ref"}:
            return self._reference(plain["$ref"])
        return self._constrained(self._flat(schema))

    def _reference(self, reference: Any) -> Node:
        """Return the rule of what is referred to, made once."""
        target = self._target(reference)
        if reference in self._opening:
            raise Unenforceable(f"{reference!r} refers to itself before anything is written")
        if reference not in self._places:
            node = self.rule(Reference("value"))
            self._places[reference] = node.name
            self._opening.append(reference)
            self._rules[node.name] = self.value(target, reference)
            self._opening.pop()
        return Reference(self._places[reference])

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not re.match(r"#(/|$)", reference):
            raise Unenforceable(f"the reference {reference!r} does not lead into this schema")
        target: Any = self._schema
        for part in reference.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
                target = target[int(key)]
            elif isinstance(target, Mapping) and key in target:
                target = target[key]
            else:
                raise Unenforceable(f"the reference {reference!r} leads nowhere")
        return target

    def _charge(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            raise Unenforceable("it is too large, or combines too much")

    def _flat(self, schema: Any) -> dict[str, Any]:
        """Return a schema without `$ref` and `allOf`: what they say is merged into it."""
        flat: dict[str, Any] = {}
        for part in self._parts(schema, 0):
            if part is False:
                raise Unenforceable("no value can be valid")
            self._charge(len(flat.get("properties", ())))
            flat = merged(flat, part) if flat else constraints(part)
        return flat

    def _parts(self, schema: Any, depth: int) -> Iterator[Any]:
        if schema is True:
            return
        if depth > MAX_DEPTH or not (schema is False or isinstance(schema, Mapping)):
            raise Unenforceable("'allOf' holds schemas, which do not refer to themselves")
        if schema is False:
            yield False
            return
        self._charge(1)
        own = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        yield own
        if "$ref" in schema:
            yield from self._parts(self._target(schema["$ref"]), depth + 1)
        several = schema.get("allOf", [])
        if not isinstance(several, list):
            raise Unenforceable("'allOf' is a list of schemas")
        for one in several:
            yield from self._parts(one, depth + 1)

    def _constrained(self, schema: dict[str, Any]) -> Node:
        for key in _UNENFORCED:
            if key in schema:
                raise Unenforceable(f"{key!r} is not enforced")
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._any_of(key, schema)
        if "enum" in schema or "const" in schema:
            return self._leaf(_constants(schema))
        return choice(*(self._typed(kind, schema) for kind in _kinds(schema)))

    def _any_of(self, key: str, schema: dict[str, Any]) -> Node:
        base = {name: value for name, value in schema.items() if name != key}
        options = schema[key]
        if not isinstance(options, list) or not options:
            raise Unenforceable(f"{key!r} is a list of schemas that is not empty")
        if key == "oneOf" and len(options) > 1:
            check_disjoint([self._flat(option) for option in options])
        nodes = []
        for position, option in enumerate(options):
            whole = {"allOf": [base, option]} if base else option
            if whole is not False:
                nodes.append(self.value(whole, f"{key}/{position}"))
        if not nodes:
            raise Unenforceable("no value can be valid")
        return choice(*nodes)

    def _typed(self, kind: str, schema: dict[str, Any]) -> Node:
        match kind:
            case "object":
                return object_grammar(self, schema)
            case "array":
                return array(self, schema)
            case "string":
                return self._leaf(string_grammar(schema))
            case "boolean":
                return BOOLEAN
            case "null":
                return NULL
            case _:
                return self._leaf(_number(kind, schema))

    def _leaf(self, node: Node) -> Node:
        self._charge(num_nodes(node))
        return node


def _kinds(schema: dict[str, Any]) -> list[str]:
    """Return the types an instance may have; where none is said, those the keywords speak of."""
    given = schema.get("type")
    if given is None:
        return [
            kind for kind, keys in _KEYWORDS.items() if any(key in schema for key in keys)
        ] or list(_TYPES[:4] + _TYPES[5:])
    kinds = [given] if isinstance(given, str) else given
    if not isinstance(kinds, list) or not kinds:
        raise Unenforceable("'type' is a name or a list of names")
    for kind in kinds:
        if kind not in _TYPES:
            raise Unenforceable(f"the type {kind!r} is not one of {', '.join(_TYPES)}")
    return [kind for kind in dict.fromkeys(kinds) if kind != "integer" or "number" not in kinds]


def _constants(schema: dict[str, Any]) -> Node:
    values = schema.get("enum", [schema.get("const")])
    if not isinstance(values, list):
        raise Unenforceable("'enum' is a list of values")
    if len(values) > MAX_CONSTANTS:
        raise Unenforceable(f"'enum' is enforced for at most {MAX_CONSTANTS} values")
    if "const" in schema:
        values = [value for value in values if identity(value) == identity(schema["const"])]
    for key in schema:
        if key not in ("enum", "const", "type") and any(key in keys for keys in _KEYWORDS.values()):
            raise Unenforceable(f"{key!r} beside 'enum' or 'const' is not enforced")
    kinds = _kinds(schema) if "type" in schema else list(_TYPES)
    fitting = [value for value in values if any(_is_of(value, kind) for kind in kinds)]
    if not fitting:
        raise Unenforceable("no value can be valid")
    return choice(*map(constant, fitting))


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    classes = {
        "object": Mapping, "array": list, "string": str, "number": int | float, "null": type(None),
    }  # fmt: skip
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, classes.get(kind, ()))


def _number(kind: str, schema: dict[str, Any]) -> Node:
    step = schema.get("multipleOf", 1 if kind == "integer" else None)
    if step is not None and not (kind == "integer" and step == 1):
        raise Unenforceable("'multipleOf' is not enforced")
    low, above = _tighter(schema.get("minimum"), schema.get("exclusiveMinimum"), 1)
    high, below = _tighter(schema.get("maximum"), schema.get("exclusiveMaximum"), -1)
    if low is None and high is None:
        return Reference(kind)
    bounds = Bounds(low, high, above, below)
    return bounds.integer() if kind == "integer" else bounds.number()


def _tighter(inclusive: Any, exclusive: Any, sign: int) -> tuple[Fraction | None, bool]:
    """Return the bound that counts, and whether it is itself left out."""
    if exclusive is True:  # as before draft 6
        return _fraction(inclusive), True
    one = _fraction(inclusive)
    other = _fraction(None if exclusive is False else exclusive)
    if other is None or (one is not None and one * sign > other * sign):
        return one, False
    return other, True


def _fraction(bound: Any) -> Fraction | None:
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise Unenforceable("a bound of a number is not a number")
    if abs(bound) > 1e300:
        raise Unenforceable("a bound of a number is too large")
    return Fraction(str(bound))
