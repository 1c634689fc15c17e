"""Grammars as trees, and as the EBNF that engines take. Knows no JSON and no regular expression.

The notation is xgrammar's (https://xgrammar.mlc.ai/docs/xgrammar_features/ebnf_grammar.html),
which TensorRT-LLM and OpenVINO GenAI share.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.guides.errors import Unenforceable

Ranges = tuple[tuple[int, int], ...]
"""Code points, as sorted ranges that do not touch, both ends included."""

ROOT = "root"
_ASCII: Ranges = ((0, 0x7F),)
_BEYOND_ASCII: Ranges = ((0x80, 0xD7FF), (0xE000, 0x10FFFF))
_MAX_BEYOND_ASCII = 256
_ALMOST_ALL = 0x100000
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]")
_ESCAPED = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Characters:
    """One character of these."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Reference:
    """What the rule of this name derives."""

    name: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; nothing where it is empty."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    """Any one of these."""

    options: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """The item `low` to `high` times, without end where `high` is None."""

    item: "Node"
    low: int
    high: int | None


Node = Literal | Characters | Reference | Sequence | Choice | Repeat
Rules = Mapping[str, Node]

NOTHING = Sequence(())


def sequence(*items: Node) -> Node:
    """Return the items as one node."""
    return items[0] if len(items) == 1 else Sequence(items)


def choice(*options: Node) -> Node:
    """Return the options as one node."""
    return options[0] if len(options) == 1 else Choice(options)


def optional(item: Node) -> Node:
    """Return the item, or nothing."""
    return Repeat(item, 0, 1)


def ebnf(rules: Rules) -> str:
    """Return the rules that `root` needs, in the engines' notation."""
    needed, waiting = {ROOT}, [ROOT]
    while waiting:
        new = set(_named(rules[waiting.pop()])) - needed
        needed |= new
        waiting += new
    lines = (f"{name} ::= {_written(node)}" for name, node in rules.items() if name in needed)
    return "\n".join(lines)


def _named(node: Node) -> Iterator[str]:
    match node:
        case Reference(name):
            yield name
        case Sequence(parts) | Choice(parts):
            for part in parts:
                yield from _named(part)
        case Repeat(item, _, _):
            yield from _named(item)


def _written(node: Node) -> str:
    match node:
        case Literal(text):
            return literal_text(text)
        case Characters(ranges):
            return _class(ranges)
        case Reference(name):
            return name
        case Sequence(items):
            return " ".join(map(_grouped, _flat(items))) or '""'
        case Choice(options):
            return " | ".join(map(_grouped, options))
        case Repeat(item, low, high):
            group = f"({_written(item)})" if isinstance(item, Repeat) else _grouped(item)
            return group + _times(low, high)


def _flat(items: tuple[Node, ...]) -> Iterator[Node]:
    for item in items:
        if isinstance(item, Sequence):
            yield from _flat(item.items)
        else:
            yield item


def _grouped(node: Node) -> str:
    text = _written(node)
    return f"({text})" if isinstance(node, Sequence | Choice) else text


def _times(low: int, high: int | None) -> str:
    signs = {(0, 1): "?", (0, None): "*", (1, None): "+"}
    exactly = f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
    return signs.get((low, high), exactly)


def literal_text(text: str) -> str:
    """Return a text as a literal: JSON's, in the escapes that engines know."""
    quoted = json.dumps(text, ensure_ascii=False)
    plain = quoted.replace("\\b", "\\u0008").replace("\\f", "\\u000c") if "\\" in quoted else quoted
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", plain)


def _class(ranges: Ranges) -> str:
    """Return a class of characters in words that every release of xgrammar reads alike.

    Until 0.1.25 only all characters beyond ASCII can be in a class, or none: a few others are
    written one by one, and of almost all none is taken.
    """
    ascii_part, beyond = intersection(ranges, _ASCII), intersection(ranges, _BEYOND_ASCII)
    if beyond == _BEYOND_ASCII:
        return f"[^{''.join(map(_range, complement((*ascii_part, *beyond))))}]"
    count = sum(high - low + 1 for low, high in beyond)
    if beyond and (not ascii_part or count < _ALMOST_ALL) and count > _MAX_BEYOND_ASCII:
        raise Unenforceable(
            f"a class of characters may name {_MAX_BEYOND_ASCII} beyond ASCII, not {count}"
        )
    each = (
        []
        if count > _MAX_BEYOND_ASCII
        else [literal_text(chr(number)) for low, high in beyond for number in range(low, high + 1)]
    )
    ways = [f"[{''.join(map(_range, ascii_part))}]"] * bool(ascii_part) + each
    return ways[0] if len(ways) == 1 else f"({' | '.join(ways)})"


def _range(ends: tuple[int, int]) -> str:
    low, high = map(_code_point, ends)
    return low if low == high else f"{low}-{high}"


def _code_point(number: int) -> str:
    if number < 0x80 and _ALPHANUMERIC.fullmatch(chr(number)):
        return chr(number)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def complement(ranges: Iterator[tuple[int, int]] | Ranges) -> Ranges:
    """Return every code point of valid text that is not in `ranges`."""
    free, gaps = 0, []
    for low, high in (*sorted(ranges), (0x110000, 0x110000)):
        if low > free:
            gaps.append((free, low - 1))
        free = max(free, high + 1)
    return without_surrogates(gaps)


def united(ranges: Iterator[tuple[int, int]] | Ranges) -> Ranges:
    """Return ranges sorted, and joined where they touch."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def intersection(left: Ranges, right: Ranges) -> Ranges:
    """Return what is in both."""
    both = ((max(a, c), min(b, d)) for a, b in left for c, d in right)
    return united(tuple((low, high) for low, high in both if low <= high))


def without_surrogates(ranges: list[tuple[int, int]]) -> Ranges:
    """Return ranges without what no text can hold."""
    return intersection(united(tuple(ranges)), ((0, 0xD7FF), (0xE000, 0x10FFFF)))
