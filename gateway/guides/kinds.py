"""The types of JSON, and which of them a schema speaks of."""

from typing import Any

from gateway.guides.errors import Unenforceable

KEYWORDS = {
    "object": (
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
        "minProperties", "maxProperties",
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}  # fmt: skip
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def kinds(schema: dict[str, Any]) -> list[str]:
    """Return the types an instance may have; where none is said, those the keywords speak of."""
    given = schema.get("type")
    if given is None:
        return [
            kind for kind, keys in KEYWORDS.items() if any(key in schema for key in keys)
        ] or list(TYPES[:4] + TYPES[5:])
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names:
        raise Unenforceable("'type' is a name or a list of names")
    for kind in names:
        if kind not in TYPES:
            raise Unenforceable(f"the type {kind!r} is not one of {', '.join(TYPES)}")
    return [kind for kind in dict.fromkeys(names) if kind != "integer" or "number" not in names]
