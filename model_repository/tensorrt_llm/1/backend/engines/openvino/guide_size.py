"""What a guide may cost, judged by its text. Pure, and in time linear in that text."""

import json
from collections.abc import Iterator
from typing import Any

from backend.contract import Guide, Refused

MAX_GUIDE_BYTES = 512 * 1024
_SMALL_BYTES = 2048
# Measured: a property or a bound of a range 1 to 2 ms of a core, a string of at most 45
# characters 40 ms, of 900 six seconds.
_MAX_COST = 100
_COST, _BOUND_COST = 1, 5
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_COUNTS = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
_MAX_BOUND, _MAX_COUNT = 10**15, 32
# A few bytes may stand for much.
_UNKNOWN = {
    *("pattern", "patternProperties", "propertyNames", "format", "multipleOf"),
    *("$ref", "$dynamicRef"),
}
_REPEATING = frozenset("*+?{\\")


def check_size(guide: Guide) -> None:
    """Return unless the text is longer than any guide may be; raise Refused."""
    num_bytes = len(guide.text.encode())
    if num_bytes > MAX_GUIDE_BYTES:
        raise Refused(f"invalid guide: {num_bytes} bytes, where {MAX_GUIDE_BYTES} can be compiled")


def is_cheap(guide: Guide) -> bool:
    """Whether the guide is sure to compile, or to fail to, in well under a second of a core.

    A short schema that nothing in it multiplies, or a choice between short texts.
    """
    if len(guide.text) > _SMALL_BYTES:
        return False
    if guide.kind == "regex":
        return _REPEATING.isdisjoint(guide.text)
    return guide.kind == "json" or (guide.kind == "json_schema" and _is_cheap_schema(guide.text))


def _is_cheap_schema(text: str) -> bool:
    try:
        members = list(_members(json.loads(text)))
    except (ValueError, RecursionError):
        return False
    return sum(_cost(name, value) for name, value in members) <= _MAX_COST


def _cost(name: str, value: Any) -> int:
    if name in _COUNTS and type(value) is int and 0 <= value <= _MAX_COUNT:
        return _COST + value
    if name in _BOUNDS and type(value) is int and abs(value) <= _MAX_BOUND:
        return _BOUND_COST
    is_known = name not in _COUNTS | _BOUNDS | _UNKNOWN
    return _COST if is_known else _MAX_COST + 1


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Every name of every object within a JSON value, with what it names."""
    open_values = [value]
    while open_values:
        at = open_values.pop()
        if isinstance(at, dict):
            yield from at.items()
            open_values += at.values()
        elif isinstance(at, list):
            open_values += at
