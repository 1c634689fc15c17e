"""Arrays: so many items, the first of them perhaps each of its own kind."""

from typing import Any, Protocol

from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import Literal, Node, Reference, Repeat, Sequence
from gateway.guides.json_text import COMMA, listed
from gateway.guides.strings import lengths
from gateway.guides.work import Work

MAX_ITEMS = 10_000


class Values(Protocol):
    """What grammars of values are made with, and what that costs."""

    work: Work

    def inner(self, schema: Any, where: str) -> Node: ...

    def rule(self, node: Node) -> Reference: ...


def array(values: Values, schema: dict[str, Any]) -> Node:
    """Return the arrays of a schema. Raises Unenforceable."""
    if schema.get("uniqueItems"):
        raise Unenforceable("'uniqueItems' is not enforced")
    low, high = lengths(schema, "Items", MAX_ITEMS)
    first, rest = schema.get("prefixItems", []), schema.get("items", True)
    if isinstance(rest, list):  # as before 2020-12
        first, rest = rest, True
    if not isinstance(first, list):
        raise Unenforceable("'prefixItems' is a list of schemas")
    if first:
        return _tuple(values, first, rest, low, high)
    if rest is False or high == 0:
        if low:
            raise Unenforceable("no array can be valid")
        return Literal("[]")
    item = values.rule(values.inner(rest, "items"))
    return Sequence((Literal("["), listed(item, low, high), Literal("]")))


def _tuple(values: Values, first: list[Any], rest: Any, low: int, high: int | None) -> Node:
    """Return arrays that begin with one item for each of `first`."""
    if high is not None:
        first = first[:high]
    nodes: list[Node] = [Literal("[")]
    for position, one in enumerate(first):
        nodes += [COMMA] * bool(position)
        nodes.append(values.inner(one, f"prefixItems/{position}"))
    missing = max(low - len(first), 0)
    room = None if high is None else high - len(first)
    if missing and rest is False:
        raise Unenforceable("no array can be valid")
    if rest is not False and room != 0 and (missing or rest is not True):
        item = values.rule(values.inner(rest, "items"))
        nodes.append(Repeat(Sequence((COMMA, item)), missing, room))
    return Sequence((*nodes, Literal("]")))
