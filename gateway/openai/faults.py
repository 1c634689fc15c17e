"""Why a body does not fit its schema: of all that pydantic says, what tells a caller most.

Where a parameter may have several forms, pydantic tells what is wrong with each of them, those
that the caller did not mean first.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from gateway.traffic.size import MAX_WORD

Location = tuple[int | str, ...]

_KINDS = {
    "bool_type": "a boolean",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "a list",
    "model_type": "an object",
    "string_type": "a string",
}
_UNION_MEMBERS = frozenset({"ContentPart", "bool", "dict", "float", "int", "list", "str"})


class Fault(NamedTuple):
    """What is wrong, and where: `path` is None for the body itself."""

    kind: str
    path: str | None
    text: str


def fault(errors: Iterable[Any]) -> Fault:
    """Return the first parameter's fault: that of the form that fits best, or all forms' names."""
    faults = [Fault(error["type"], _path(error["loc"]), error["msg"]) for error in errors]
    best = max((one for one in faults if _is_within(one.path, faults[0].path)), key=_fit)
    kinds = [_KINDS[one.kind] for one in faults if one.path == best.path and one.kind in _KINDS]
    if best.kind in _KINDS:
        return best._replace(text=f"Input should be {' or '.join(dict.fromkeys(kinds))}")
    return best._replace(text=best.text.replace(" after validation", ""))


def _is_within(path: str | None, parent: str | None) -> bool:
    return path == parent or (path or "").startswith((f"{parent}[", f"{parent}."))


def _fit(one: Fault) -> tuple[bool, int]:
    """Rank a fault: a value of the right type fits better than one of another, the deeper too."""
    path = one.path or ""
    return not one.kind.endswith("_type"), path.count("[") + path.count(".")


def _path(location: Location) -> str | None:
    """Return `messages[0].content` for a location, without the names of union members."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in _UNION_MEMBERS:
            path += f".{part[:MAX_WORD]}" if path else part[:MAX_WORD]
    return path or None
