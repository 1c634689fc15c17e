"""How its makers advise to sample from a model. Writes nothing."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeGuard

Sampling = Mapping[str, float]
"""What a request gets that does not say, by the names of the gateway's models file."""

# What the gateway takes; a value beyond would keep it from starting.
_TAKEN: Mapping[str, Callable[[float], bool]] = {
    "temperature": lambda value: 0 <= value <= 2,
    "top_p": lambda value: 0 < value <= 1,
    "top_k": lambda value: 0 <= value < 2**31 and value == int(value),
    "repetition_penalty": lambda value: 0 < value < float("inf"),
}


def advised(tokenizer: Path) -> Sampling:
    """Return what generation_config.json in a folder of Hugging Face files advises, if it does.

    A model that is to be decoded greedily (`do_sample: false`) gets temperature 0.
    """
    config = _read(tokenizer / "generation_config.json")
    if config.get("do_sample") is False:
        return {"temperature": 0}
    numbers = {name: value for name, value in config.items() if _is_number(value)}
    return {
        name: numbers[name]
        for name, fits in _TAKEN.items()
        if name in numbers and fits(numbers[name])
    }


def as_defaults(sampling: Sampling) -> dict[str, object]:
    """Return the entry of a models file that says so; none where nothing is advised."""
    return {"defaults": dict(sampling)} if sampling else {}


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
