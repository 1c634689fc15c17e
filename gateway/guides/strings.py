"""Strings: of some length, of some pattern, of some well-known form."""

from typing import Any

from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import Characters, Node, Repeat, Sequence
from gateway.guides.json_text import string_like, string_of
from gateway.guides.regex import pattern_grammar
from gateway.guides.work import Work

MAX_LENGTH = 10_000
_CHARS = 4
"""Characters of a pattern that cost a unit to read."""

_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ATOM = r"[A-Za-z0-9_+-]{1,20}"
_HEX4 = r"[0-9a-fA-F]{1,4}"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": r"P(\d{1,4}[WD]|\d{1,4}DT\d{1,4}H|T\d{1,4}[HMS]|T\d{1,4}H\d{1,4}M(\d{1,4}S)?)",
    "email": rf"{_ATOM}(\.{_ATOM}){{0,3}}@{_LABEL}(\.{_LABEL}){{1,3}}",
    "hostname": rf"{_LABEL}(\.{_LABEL}){{0,3}}",
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "ipv6": rf"({_HEX4}:){{7}}{_HEX4}",
    "uuid": r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
}
"""The formats that are enforced; others only describe, which is all the standard asks for."""


def string_grammar(schema: dict[str, Any], work: Work) -> Node:
    """Return the strings of a schema. Raises Unenforceable."""
    low, high = lengths(schema, "Length", MAX_LENGTH)
    pattern = schema.get("pattern")
    if pattern is None and schema.get("format") in FORMATS:
        pattern = FORMATS[schema["format"]]
    if pattern is None:
        return work.leaf(string_of(low, high))
    if not isinstance(pattern, str):
        raise Unenforceable("'pattern' is a regular expression")
    work.charge(len(pattern) // _CHARS)
    return work.leaf(string_like(_of_length(pattern_grammar(pattern), low, high)))


def lengths(schema: dict[str, Any], what: str, limit: int) -> tuple[int, int | None]:
    """Return `min...` and `max...`, none of them beyond `limit`."""
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}")
    for name, value in ((f"min{what}", low), (f"max{what}", high)):
        if value is not None and (isinstance(value, bool) or value != int(value) or value < 0):
            raise Unenforceable(f"{name!r} is a whole number, not below 0")
    if low > limit:
        raise Unenforceable(f"'min{what}' above {limit} is not enforced")
    if high is not None and low > high:
        raise Unenforceable(f"'min{what}' is above 'max{what}'")
    return int(low), None if high is None else min(int(high), limit)


def _of_length(node: Node, low: int, high: int | None) -> Node:
    """Return what of a pattern has a length within bounds."""
    shortest, longest = _length(node)
    if shortest >= low and (high is None or (longest is not None and longest <= high)):
        return node
    match node:
        case Repeat(Characters() as item, least, most):
            most = high if most is None else most if high is None else min(most, high)
            least = max(least, low)
            if most is None or least <= most:
                return Repeat(item, least, most)
    raise Unenforceable("'pattern' beside a length that it does not keep by itself is not enforced")


def _length(node: Node) -> tuple[int, int | None]:
    """Return the lengths of the shortest and the longest text, the latter None without end."""
    match node:
        case Characters():
            return 1, 1
        case Sequence(items):
            pairs = [_length(item) for item in items]
            highs = [high for _, high in pairs if high is not None]
            return sum(low for low, _ in pairs), sum(highs) if len(highs) == len(pairs) else None
        case Repeat(item, low, high):
            least, most = _length(item)
            return least * low, None if high is None or most is None else most * high
    pairs = [_length(option) for option in getattr(node, "options", ())]
    highs = [high for _, high in pairs if high is not None]
    return min(low for low, _ in pairs), max(highs) if len(highs) == len(pairs) else None
