"""JSON schemas as grammars: what cannot be enforced wholly is refused, never left out.

Every text of the grammar is an instance; it may be narrower than the schema: properties come in
the order in which they are declared, none are added to an object that declares some unless
`additionalProperties` says so, and numbers, long strings and white space are bounded.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from gateway.guides.arrays import array
from gateway.guides.constants import constants
from gateway.guides.derivation import is_productive
from gateway.guides.errors import TooLarge, Unenforceable
from gateway.guides.grammar import Node, Reference, choice, ebnf
from gateway.guides.json_text import BOOLEAN, NULL, RULES
from gateway.guides.kinds import kinds
from gateway.guides.merge import Schema, constraints, merged
from gateway.guides.numbers import number_grammar
from gateway.guides.objects import object_grammar
from gateway.guides.overlap import check_disjoint
from gateway.guides.strings import FORMATS, string_grammar
from gateway.guides.work import Work

MAX_DEPTH = 64
MAX_GRAMMAR_CHARACTERS = 128 * 1024

_UNENFORCED = (
    "$dynamicRef", "$recursiveRef", "additionalItems", "contains", "dependencies",
    "dependentRequired", "dependentSchemas", "else", "if", "maxContains", "minContains", "not",
    "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip

_BESIDE_FORMAT = ("pattern", "minLength", "maxLength")


def schema_grammar(schema: Schema) -> str:
    """Return the EBNF of a schema's instances. Raises Unenforceable, saying what and where."""
    try:
        rules = Compiler(schema).rules()
    except RecursionError as error:
        raise Unenforceable("it is nested too deeply") from error
    except (TypeError, AttributeError, ValueError, LookupError) as error:
        raise Unenforceable("a keyword has a value of the wrong type") from error
    if not is_productive(rules):
        raise Unenforceable("no finite value can be valid")
    text = ebnf(rules)
    if len(text) > MAX_GRAMMAR_CHARACTERS:
        raise TooLarge("it is too large for a grammar")
    return text


class Compiler:
    """Turns one schema, and what it refers to, into rules."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._rules: dict[str, Node] = {}
        self._places: dict[str, str] = {}
        self._targets: dict[str, Any] = {}
        self._formats: dict[str, Reference] = {}
        self._depth = 0
        self.work = Work()
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
        self.work.charge(1)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unenforceable(f"schemas are nested deeper than {MAX_DEPTH}")
        try:
            return self._value(schema)
        except Unenforceable as error:
            if "(at " not in error.reason:
                error.reason = f"{error.reason} (at {where})"
            raise
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
            try:
                self._rules[node.name] = self.value(target, reference)
            except Unenforceable as error:
                error.within = reference
                raise
            self._opening.pop()
        return Reference(self._places[reference])

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not re.match(r"#(/|$)", reference):
            raise Unenforceable(f"the reference {reference!r} does not lead into this schema")
        if reference not in self._targets:
            self._targets[reference] = self._followed(reference)
        return self._targets[reference]

    def _followed(self, reference: str) -> Any:
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

    def _flat(self, schema: Any) -> dict[str, Any]:
        """Return a schema without `$ref` and `allOf`: what they say is merged into it."""
        flat: dict[str, Any] = {}
        for part in self._parts(schema, 0):
            if part is False:
                raise Unenforceable("no value can be valid")
            flat = merged(flat, part, self.work) if flat else constraints(part)
        return flat

    def _parts(self, schema: Any, depth: int) -> Iterator[Any]:
        if schema is True:
            return
        if depth > MAX_DEPTH or not (schema is False or isinstance(schema, Mapping)):
            raise Unenforceable("'allOf' holds schemas, which do not refer to themselves")
        if schema is False:
            yield False
            return
        self.work.charge(1)
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
            return constants(schema, self.work)
        return choice(*(self._typed(kind, schema) for kind in kinds(schema)))

    def _any_of(self, key: str, schema: dict[str, Any]) -> Node:
        base = {name: value for name, value in schema.items() if name != key}
        options = schema[key]
        if not isinstance(options, list) or not options:
            raise Unenforceable(f"{key!r} is a list of schemas that is not empty")
        if key == "oneOf" and len(options) > 1:
            check_disjoint([self._flat(option) for option in options], self.work)
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
                return self._string(schema)
            case "boolean":
                return BOOLEAN
            case "null":
                return NULL
            case _:
                return self.work.leaf(number_grammar(kind, schema))

    def _string(self, schema: dict[str, Any]) -> Node:
        """Return the strings of a schema; those of a format are a rule, made once."""
        name = schema.get("format")
        if name not in FORMATS or not schema.keys().isdisjoint(_BESIDE_FORMAT):
            return string_grammar(schema, self.work)
        if name not in self._formats:
            self._formats[name] = self.rule(string_grammar(schema, self.work))
        return self._formats[name]
