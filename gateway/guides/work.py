"""What a schema may cost to compile, counted before it is done: a unit is some 16 microseconds."""

from typing import Any

from gateway.guides.errors import TooLarge
from gateway.guides.grammar import Characters, Choice, Literal, Node, Repeat, Sequence

MAX_WORK = 6_000
_CHARS = 32
"""Characters that cost as much as one value."""


class Work:
    """Counts what was done for one schema."""

    def __init__(self) -> None:
        self._done = 0

    def charge(self, units: int) -> None:
        """Raise TooLarge where that is more than is done for any schema."""
        self._done += units
        if self._done > MAX_WORK:
            raise TooLarge("it is too large, or combines too much")

    def leaf(self, node: Node) -> Node:
        """Return a node that was made, and is yet to be written."""
        self.charge(weight(node))
        return node


def weight(node: Node) -> int:
    """Return what it costs to write a node."""
    match node:
        case Literal(text):
            return 1 + len(text) // _CHARS
        case Characters(ranges):
            return 1 + len(ranges) // 2
        case Sequence(parts) | Choice(parts):
            return 1 + sum(map(weight, parts))
        case Repeat(item, _, _):
            return 1 + weight(item)
    return 1


def num_values(value: Any) -> int:
    """Return how many JSON values a value is made of, long texts counted as several."""
    if isinstance(value, str):
        return 1 + len(value) // _CHARS
    if isinstance(value, dict):
        names = sum(map(len, value)) // _CHARS
        return 1 + names + sum(map(num_values, value.values()))
    return 1 + sum(map(num_values, value)) if isinstance(value, list) else 1
