"""`enum` and `const`: the values of theirs that the rest of the schema lets be."""

from collections.abc import Mapping
from typing import Any

from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import Node, choice
from gateway.guides.json_text import constant
from gateway.guides.kinds import KEYWORDS, TYPES, kinds
from gateway.guides.merge import identity
from gateway.guides.work import Work, num_values

MAX_CONSTANTS = 1_000


def constants(schema: dict[str, Any], work: Work) -> Node:
    """Return the values that can be valid. Raises Unenforceable where there are none."""
    values = schema.get("enum", [schema.get("const")])
    if not isinstance(values, list):
        raise Unenforceable("'enum' is a list of values")
    if len(values) > MAX_CONSTANTS:
        raise Unenforceable(f"'enum' is enforced for at most {MAX_CONSTANTS} values")
    work.charge(num_values(values))
    if "const" in schema:
        values = [value for value in values if identity(value) == identity(schema["const"])]
    for key in schema:
        if key not in ("enum", "const", "type") and any(key in keys for keys in KEYWORDS.values()):
            raise Unenforceable(f"{key!r} beside 'enum' or 'const' is not enforced")
    allowed = kinds(schema) if "type" in schema else list(TYPES)
    fitting = [value for value in values if any(_is_of(value, kind) for kind in allowed)]
    if not fitting:
        raise Unenforceable("no value can be valid")
    return choice(*map(constant, fitting))


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    classes = {
        "object": Mapping, "array": list, "string": str, "number": int | float, "null": type(None),
    }  # fmt: skip
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, classes.get(kind, ()))
