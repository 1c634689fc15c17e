"""What models leave unescaped in JSON, escaped; and JSON within JSON."""

import json
import re

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_ESCAPED = re.compile(r"\\[^\x00-\x1f]|\\?[\x00-\x1f]")


def escape(char: str) -> str:
    """Return how JSON writes a control character; empty for any other character."""
    return json.dumps(char)[1:-1] if char and char < " " else ""


def with_escapes(text: str) -> str:
    """Return JSON with the control characters in its strings escaped."""
    return _STRING.sub(_string, text) if _CONTROL.search(text) else text


def object_in(quoted: str) -> str:
    """Return the JSON object that a JSON string holds; empty where it holds none."""
    try:
        text = json.loads(quoted, strict=False)
        held = json.loads(text, strict=False) if text.strip() else {}
    except (ValueError, RecursionError):
        return ""
    return with_escapes(text.strip()) or "{}" if isinstance(held, dict) else ""


def _string(found: re.Match[str]) -> str:
    return _ESCAPED.sub(lambda part: escape(part[0][-1]) or part[0], found[0])
