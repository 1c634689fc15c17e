"""Whether an instance can be valid under two schemas at once: `oneOf` forbids it."""

from itertools import combinations
from typing import Any

from gateway.guides.errors import Unenforceable
from gateway.guides.merge import identity
from gateway.guides.work import Work, num_values

_MAX_OPTIONS, _MAX_VALUES = 32, 64
_COMPARED = 32
"""Values that are compared at the cost of one that is compiled."""


def check_disjoint(options: list[dict[str, Any]], work: Work) -> None:
    """Raise Unenforceable unless it is plain that no instance fits two of the options."""
    if len(options) > _MAX_OPTIONS:
        raise Unenforceable(f"'oneOf' is enforced for at most {_MAX_OPTIONS} options")
    sizes = sum(map(num_values, options))
    work.charge(len(options) * sizes // _COMPARED)
    for left, right in combinations(options, 2):
        if not _are_disjoint(left, right):
            raise Unenforceable(
                "'oneOf' is enforced where the options differ in type or in a required constant; "
                "use 'anyOf'"
            )


def _are_disjoint(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return (
        not _kinds(left) & _kinds(right)
        or _constants_differ(left, right)
        or any(
            _constants_differ(left["properties"][name], right["properties"][name])
            for name in _demanded(left) & _demanded(right)
        )
        or _lacks(left, right)
        or _lacks(right, left)
    )


def _kinds(schema: dict[str, Any]) -> set[str]:
    kinds = schema.get("type", [])
    if not kinds:
        return {"object", "array", "string", "number", "boolean", "null"}
    return {
        "number" if kind == "integer" else kind
        for kind in ([kinds] if isinstance(kinds, str) else kinds)
    }


def _demanded(schema: dict[str, Any]) -> set[str]:
    properties = schema.get("properties", {})
    return {name for name in schema.get("required", ()) if isinstance(properties.get(name), dict)}


def _constants_differ(left: dict[str, Any], right: dict[str, Any]) -> bool:
    one, other = _constants(left), _constants(right)
    if one is None or other is None:
        return False
    return set(map(identity, one)).isdisjoint(map(identity, other))


def _constants(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) and len(values) <= _MAX_VALUES else None


def _lacks(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Whether `right` forbids what `left` requires, both being of objects alone."""
    if _kinds(left) != {"object"} or _kinds(right) != {"object"}:
        return False
    if right.get("additionalProperties") is not False or "patternProperties" in right:
        return False
    return not set(left.get("required", ())) <= set(right.get("properties", {}))
