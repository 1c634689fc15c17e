"""What a guide may cost, judged by its text. Pure, and in time linear in that text."""

import json
from collections.abc import Iterator
from typing import Any

from stand_in.contract import Guide, Refused

MAX_GUIDE_BYTES = 512 * 1024
_SMALL_BYTES = 2048
_MAX_PROPERTIES = 40
# Keywords that count or repeat, and names that lead elsewhere: few bytes may stand for much.
_MULTIPLIERS = {
    *("pattern", "patternProperties", "propertyNames", "format", "$ref", "$dynamicRef"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
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
        names = list(_names(json.loads(text)))
    except (ValueError, RecursionError):
        return False
    return len(names) <= _MAX_PROPERTIES and _MULTIPLIERS.isdisjoint(names)


def _names(value: Any) -> Iterator[str]:
    """Every name of every object within a JSON value."""
    open_values = [value]
    while open_values:
        at = open_values.pop()
        if isinstance(at, dict):
            yield from at
            open_values += at.values()
        elif isinstance(at, list):
            open_values += at
