"""Objects: declared properties in their order, then others where the schema lets them be."""

from typing import Any

from gateway.guides.arrays import Values
from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import (
    NOTHING,
    Literal,
    Node,
    Reference,
    Repeat,
    Sequence,
    choice,
)
from gateway.guides.json_text import COMMA, SPACE, constant, listed, string_except
from gateway.guides.strings import lengths, string_grammar
from gateway.guides.work import Work, num_values

MAX_PROPERTIES = 256
_OTHER_CHAR = 4
"""What each character of a name costs that others must differ from."""


def object_grammar(values: Values, schema: dict[str, Any]) -> Node:
    """Return the objects of a schema. Raises Unenforceable."""
    declared, required = _declared(schema)
    if "patternProperties" in schema or not (declared or "properties" in schema):
        return _map(values, schema, declared)
    others = schema.get("additionalProperties", False)
    low, high = lengths(schema, "Properties", MAX_PROPERTIES)
    if low > len(required) or (high is not None and (high < len(declared) or others is not False)):
        raise Unenforceable(
            "'minProperties' and 'maxProperties' are not enforced beside properties"
        )
    members = [
        (_member(values, name, declared[name]), name in required)
        for name in declared
        if declared[name] is not False or name in required
    ]
    tail = NOTHING if others is False else _others(values, schema, declared, others)
    return Sequence((Literal("{"), _members(values, members, tail), Literal("}")))


def _declared(schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict):
        raise Unenforceable("'properties' is an object of schemas")
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise Unenforceable("'required' is a list of names")
    others = schema.get("additionalProperties", True)
    declared = dict(properties)
    for name in required:
        declared.setdefault(name, others)
    if len(declared) > MAX_PROPERTIES:
        raise Unenforceable(f"an object may have {MAX_PROPERTIES} properties")
    return declared, required


def _member(values: Values, name: str, schema: Any) -> Node:
    values.work.charge(1 + num_values(name))  # which is then also left out, in a rule of its own
    value = values.inner(schema, f"properties/{name}")
    return values.rule(Sequence((constant(name), Literal(":"), SPACE, value)))


def _members(values: Values, members: list[tuple[Node, bool]], tail: Node) -> Node:
    """Return the members in order, those left out that may be.

    Before the first that is required it is open whether a comma is due: there, `first` goes on
    after nothing and `rest` after something.
    """
    first: Node = _opening_tail(tail)
    rest: list[Node] = [tail]
    num_open = next((i for i, (_, required) in enumerate(members) if required), len(members))
    for member, is_required in reversed(members[num_open:]):
        first = Sequence((member, *rest))
        rest = [COMMA, member, *rest] if is_required else [_or_not(values, member, rest)]
    for member, _ in reversed(members[:num_open]):
        after = values.rule(Sequence(tuple(rest)))
        first = choice(Sequence((member, after)), values.rule(first))
        rest = [_or_not(values, member, [after])]
    return first


def _or_not(values: Values, member: Node, rest: list[Node]) -> Node:
    """Return what follows something where this member may be left out; a rule for each."""
    after = values.rule(Sequence(tuple(rest)))
    return values.rule(choice(Sequence((COMMA, member, after)), after))


def _opening_tail(tail: Node) -> Node:
    """Return the tail where nothing stands before it: its first comma is not due."""
    match tail:
        case Repeat(Sequence((_, member)), 0, None):
            return listed(member, 0, None)
    return NOTHING


def _others(values: Values, schema: dict[str, Any], declared: dict[str, Any], others: Any) -> Node:
    if schema.get("propertyNames", True) not in (True, {}, {"type": "string"}):
        raise Unenforceable("'propertyNames' is not enforced beside properties")
    values.work.charge(_OTHER_CHAR * sum(map(len, declared)))
    value = values.inner(others, "additionalProperties")
    member = values.rule(Sequence((string_except(declared), Literal(":"), SPACE, value)))
    return Repeat(Sequence((COMMA, member)), 0, None)


def _map(values: Values, schema: dict[str, Any], declared: dict[str, Any]) -> Node:
    """Return objects of any names, or of names that a pattern or a schema tells."""
    low, high = lengths(schema, "Properties", MAX_PROPERTIES)
    if low > 1:
        raise Unenforceable("'minProperties' above 1 is not enforced where names are free")
    others = schema.get("additionalProperties", True)
    patterns = schema.get("patternProperties", {})
    names: Node = _names(schema.get("propertyNames", True), values.work)
    if patterns:
        if declared or len(patterns) > 1 or schema.get("propertyNames", True) is not True:
            raise Unenforceable("'patternProperties' is enforced only as the one word about names")
        [(pattern, others)] = patterns.items()
        names = string_grammar({"pattern": pattern}, values.work)
    if others is False or high == 0:
        if low:
            raise Unenforceable("no object can be valid")
        return Literal("{}")
    value = values.inner(others, "additionalProperties")
    member = values.rule(Sequence((names, Literal(":"), SPACE, value)))
    return Sequence((Literal("{"), listed(member, low, high), Literal("}")))


def _names(schema: Any, work: Work) -> Node:
    if schema in (True, {}):
        return Reference("string")
    if not isinstance(schema, dict) or schema.get("type", "string") != "string":
        raise Unenforceable("'propertyNames' is a schema of strings")
    if "enum" in schema:
        work.charge(num_values(schema["enum"]))
        options = [name for name in schema["enum"] if isinstance(name, str)]
        return choice(*map(constant, options))
    known = {"type", "pattern", "minLength", "maxLength", "format", "title", "description"}
    if set(schema) - known:
        raise Unenforceable("'propertyNames' is enforced as an enum, a pattern or a length")
    return string_grammar(schema, work)
