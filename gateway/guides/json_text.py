"""The grammar of JSON as engines are to write it: compact, or with one space after , and :."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import (
    NOTHING,
    Characters,
    Choice,
    Literal,
    Node,
    Ranges,
    Reference,
    Repeat,
    Sequence,
    choice,
    complement,
    intersection,
    optional,
    sequence,
)

SPACE = optional(Literal(" "))
COMMA = Sequence((Literal(","), SPACE))
QUOTE = Literal('"')
NULL, BOOLEAN = Literal("null"), Choice((Literal("true"), Literal("false")))

_NOT_PLAIN: Ranges = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
_PLAIN: Ranges = complement(_NOT_PLAIN)
_DIGITS = Characters(((0x30, 0x39),))
_HEX = Characters(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
_MAX_DIGITS = 19
_MAX_NAME = 100


def _one_of(text: str) -> Characters:
    return Characters(tuple((ord(char), ord(char)) for char in sorted(text)))


# Whatever has no short escape is written as it is, and the other control characters not at all.
_CHARACTER = Choice((Characters(_PLAIN), Sequence((Literal("\\"), _one_of('"\\bfnrt')))))
_FRACTION = Sequence((Literal("."), Repeat(_DIGITS, 1, _MAX_DIGITS)))
_EXPONENT = Sequence((_one_of("eE"), optional(_one_of("+-")), Repeat(_DIGITS, 1, 2)))
_WHOLE = Choice(
    (Literal("0"), Sequence((Characters(((0x31, 0x39),)), Repeat(_DIGITS, 0, _MAX_DIGITS - 1))))
)

RULES: dict[str, Node] = {
    "char": _CHARACTER,
    "string": Sequence((QUOTE, Repeat(Reference("char"), 0, None), QUOTE)),
    "integer": Sequence((optional(Literal("-")), _WHOLE)),
    "number": Sequence((Reference("integer"), optional(_FRACTION), optional(_EXPONENT))),
    "object": Sequence(
        (
            Literal("{"),
            optional(
                Sequence(
                    (Reference("member"), Repeat(Sequence((COMMA, Reference("member"))), 0, None))
                )
            ),
            Literal("}"),
        )
    ),
    "member": Sequence((Reference("string"), Literal(":"), SPACE, Reference("value"))),
    "array": Sequence(
        (
            Literal("["),
            optional(
                Sequence(
                    (Reference("value"), Repeat(Sequence((COMMA, Reference("value"))), 0, None))
                )
            ),
            Literal("]"),
        )
    ),
    "value": Choice(
        (
            Reference("object"),
            Reference("array"),
            Reference("string"),
            Reference("number"),
            BOOLEAN,
            NULL,
        )
    ),
}
"""Any JSON. Numbers are such that every reader takes them: finite, of at most 19 digits."""


def constant(value: Any) -> Node:
    """Return the way this value is written."""
    if isinstance(value, dict) and value:
        members = [
            Sequence((constant(name), Literal(":"), SPACE, constant(item)))
            for name, item in value.items()
        ]
        return Sequence((Literal("{"), *_with_commas(members), Literal("}")))
    if isinstance(value, list) and value:
        return Sequence((Literal("["), *_with_commas(list(map(constant, value))), Literal("]")))
    return Literal(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _with_commas(items: list[Any]) -> Iterator[Node]:
    yield items[0]
    for item in items[1:]:
        yield from (COMMA, item)


def string_of(low: int, high: int | None) -> Node:
    """Return strings of so many characters."""
    if (low, high) == (0, None):
        return Reference("string")
    return Sequence((QUOTE, Repeat(Reference("char"), low, high), QUOTE))


def string_like(node: Node) -> Node:
    """Return the strings whose value a grammar derives, written as JSON."""
    return Sequence((QUOTE, _in_json(node), QUOTE))


def _in_json(node: Node) -> Node:
    match node:
        case Characters(ranges):
            return _characters(ranges)
        case Sequence(items):
            return Sequence(tuple(map(_in_json, items)))
        case Choice(options):
            return Choice(tuple(map(_in_json, options)))
        case Repeat(item, low, high):
            return Repeat(_in_json(item), low, high)
        case _:
            return node


def _characters(ranges: Ranges) -> Node:
    plain = intersection(ranges, _PLAIN)
    escaped = [
        Literal(text)
        for char, text in _ESCAPES.items()
        if any(low <= ord(char) <= high for low, high in ranges)
    ]
    return choice(*([Characters(plain)] if plain else []), *escaped) if plain or escaped else _NEVER


# A control character that has no short escape.
_NEVER = Sequence((Literal("\\u00"), _one_of("01"), _HEX))


def string_except(names: Iterable[str]) -> Node:
    """Return strings that are none of these, without escapes."""
    tree: dict[str, Any] = {}
    for name in names:
        if len(name) > _MAX_NAME:
            raise Unenforceable(f"names above {_MAX_NAME} characters beside others")
        branch = tree
        for char in name:
            branch = branch.setdefault(char, {})
        branch[""] = {}
    return Sequence((QUOTE, _except(tree), QUOTE))


def _except(tree: dict[str, Any]) -> Node:
    if not tree:
        return Repeat(Characters(_PLAIN), 0, None)
    starts = {char: branch for char, branch in tree.items() if char}
    other = Characters(complement((*((ord(char), ord(char)) for char in starts), *_NOT_PLAIN)))
    ways: list[Node] = [Sequence((other, Repeat(Characters(_PLAIN), 0, None)))]
    if "" not in tree:
        ways.append(NOTHING)
    for char, branch in starts.items():
        if _is_plain(char):
            ways.append(Sequence((Characters(((ord(char), ord(char)),)), _except(branch))))
    return choice(*ways)


def _is_plain(char: str) -> bool:
    return not any(low <= ord(char) <= high for low, high in _NOT_PLAIN)


def listed(item: Node, low: int, high: int | None) -> Node:
    """Return `low` to `high` items with commas between, and nothing around."""
    if high == 0:
        return NOTHING
    more = Repeat(Sequence((COMMA, item)), max(low - 1, 0), None if high is None else high - 1)
    several = sequence(item, more)
    return several if low else optional(several)
