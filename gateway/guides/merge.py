"""Several JSON schemas that must hold at once, as one that says the same, or more."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from gateway.guides.errors import Unenforceable
from gateway.guides.work import Work, num_values

Schema = Mapping[str, Any]

_COMPARED = 8
"""Values that are compared, or put into one, at the cost of one that is compiled."""

_ANNOTATIONS = frozenset(
    {
        "$anchor", "$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated",
        "description", "discriminator", "example", "examples", "id", "readOnly", "title",
        "writeOnly",
    }
)  # fmt: skip
"""Keywords that no instance can violate."""


def constraints(schema: Schema) -> dict[str, Any]:
    """Return the keywords of a schema that instances can violate."""
    return {key: value for key, value in schema.items() if key not in _ANNOTATIONS}


def merged(left: Schema, right: Schema, work: Work) -> dict[str, Any]:
    """Return what holds where both do; neither has `$ref` or `allOf` of its own.

    Raises Unenforceable for keywords that cannot be put into one.
    """
    both = dict(left)
    work.charge(len(left.get("properties", ())))
    for key, value in constraints(right).items():
        if key in both:
            work.charge((num_values(both[key]) + num_values(value)) // _COMPARED)
        if key not in both or both[key] == value:
            both[key] = value
        elif key in _MERGE:
            both[key] = _MERGE[key](both[key], value)
        else:
            raise Unenforceable(f"two {key!r} that must both hold are not enforced")
    properties = _properties(left, right)
    return {**both, "properties": properties} if properties else both


def _properties(left: Schema, right: Schema) -> dict[str, Any]:
    names = [*left.get("properties", {}), *right.get("properties", {})]
    return {name: _all_of(_of(left, name), _of(right, name)) for name in dict.fromkeys(names)}


def _of(schema: Schema, name: str) -> Any:
    """What a schema demands of one property."""
    own = schema.get("properties", {})
    return own[name] if name in own else schema.get("additionalProperties", True)


def _all_of(left: Any, right: Any) -> Any:
    if left is False or right is False:
        return False
    if left in (True, {}) or left == right:
        return right
    return left if right in (True, {}) else {"allOf": [left, right]}


def _types(left: Any, right: Any) -> list[str]:
    one, other = (set([kinds] if isinstance(kinds, str) else kinds) for kinds in (left, right))
    common = one & other
    if "integer" in one ^ other and "number" in one | other:
        common.add("integer")
    if not common:
        raise Unenforceable(f"nothing is of the types {left!r} and {right!r} at once")
    return sorted(common)


def _required(left: list[str], right: list[str]) -> list[str]:
    return list(dict.fromkeys([*left, *right]))


def _options(left: list[Any], right: list[Any]) -> list[Any]:
    others = set(map(identity, right))
    return [value for value in left if identity(value) in others]


def identity(value: Any) -> Hashable:
    """Return what is equal for equal JSON values alone: 1 is 1.0, but not true."""
    if isinstance(value, Mapping):
        return frozenset((key, identity(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(map(identity, value))
    return (isinstance(value, bool), value)


_MERGE: Mapping[str, Callable[[Any, Any], Any]] = {
    "additionalProperties": _all_of,
    "enum": _options,
    "exclusiveMaximum": min,
    "exclusiveMinimum": max,
    "items": _all_of,
    "maxItems": min,
    "maxLength": min,
    "maxProperties": min,
    "maximum": min,
    "minItems": max,
    "minLength": max,
    "minProperties": max,
    "minimum": max,
    "properties": lambda left, right: left,  # put together once all else is
    "required": _required,
    "type": _types,
}
