"""Python literals to JSON, as text. Evaluates nothing."""

import json
import re

import orjson

_TOKEN = re.compile(
    r"""(?P<string>'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")"""
    r"""|(?P<name>[^\W\d]\w*)"""
    r"""|(?P<number>\.?\d[\w.]*)"""
    r"""|(?P<bracket>[()])"""
    r"""|(?P<last_comma>,(?=\s*[\])}]))""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|(.))", re.DOTALL)
_NAMES = {"True": "true", "False": "false", "None": "null"}
_BRACKETS = {"(": "[", ")": "]"}
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_ESCAPED.update({char: char for char in "\\'\""})


def literal_to_json(source: str) -> str:
    """Return a Python literal as JSON. A text that is not one comes back as a JSON string.

    Tuples become arrays; the names of JSON, `true`, `false` and `null`, are read as well.
    """
    text = _TOKEN.sub(_translate, source.strip())
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.dumps(source.strip(), ensure_ascii=False)
    return text


def _translate(token: re.Match[str]) -> str:
    text = token.group()
    match token.lastgroup:
        case "string":
            return json.dumps(_unescape(text[1:-1]), ensure_ascii=False)
        case "name":
            return _NAMES.get(text, text)
        case "number":
            digits = text.replace("_", "")
            return f"{'0' * digits.startswith('.')}{digits}{'0' * digits.endswith('.')}"
        case "bracket":
            return _BRACKETS[text]
        case _:
            return ""


def _unescape(body: str) -> str:
    if "\\" not in body:
        return body
    text = _ESCAPE.sub(_character, body)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    if not code:
        return _ESCAPED.get(escape[4], escape.group())
    number = int(code, 16)
    return chr(number) if number <= 0x10FFFF else escape.group()
