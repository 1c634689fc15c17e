"""Calls written as JSON: `{"name": ..., "parameters": {...}}`, several in a list or in a row."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.output.tools.events import CallArguments
from gateway.output.tools.parser import SPACE, Attempt, CallParser
from gateway.output.tools.reader import Reading

_NAME, _TYPE, _ARGUMENTS = '"name"', '"type"', ('"parameters"', '"arguments"')
_OUTSIDE_STRING = re.compile(r'[^"{}\[\]]*')
_INSIDE_STRING = re.compile(r'[^"\\]*')
_LIST_SEPARATORS = re.compile(r"[\s,]*")


@dataclass(slots=True)
class _Header:
    """What is known of a call before it begins; arguments that come first wait for the name."""

    name: str = ""
    arguments: str = ""


class JsonParser(CallParser):
    """Plain JSON, as guided decoding yields it and many models write it.

    The keys may come in any order, the arguments as `parameters` or `arguments`, with or without
    `"type": "function"`; arguments are streamed as the model writes them, once the name is known.
    An object with any other key before its arguments is content.
    """

    def __init__(self, names: Sequence[str], keep_markers: bool = False) -> None:
        super().__init__(names, keep_markers)
        self._quoted = {json.dumps(name, ensure_ascii=False): name for name in names}

    def _untagged(self, char: str) -> Attempt | None:
        return {"{": self._call, "[": self._list}.get(char)

    def _tags(self) -> dict[str, Attempt]:
        return {}

    def _list(self) -> Reading[bool]:
        self._reader.skip()
        has_calls = False
        while True:
            yield from self._reader.run(_LIST_SEPARATORS)
            char = yield from self._reader.peek()
            if char == "]" and has_calls:
                self._reader.skip()
                self._reader.take()
                return True
            if char != "{" or not (yield from self._call()):
                return has_calls and not char
            has_calls = True

    def _call(self) -> Reading[bool]:
        """Read an object, at its brace; False where it is no call, or breaks off in one."""
        self._reader.skip()
        header = _Header()
        while True:
            key = yield from self._key()
            if key in _ARGUMENTS and header.name:
                return (yield from self._streamed_call(header.name))
            if not (yield from self._field(key, header)):
                return False
            if header.name and header.arguments:
                return (yield from self._whole_call(header))
            if not (yield from self._punctuation(",")):
                return False

    def _field(self, key: str, header: _Header) -> Reading[bool]:
        if key == _NAME:
            quoted = yield from self._reader.one_of(self._quoted)
            header.name = self._quoted.get(quoted, "")
            return bool(header.name)
        if key in _ARGUMENTS:
            header.arguments = yield from self._held_object()
            return bool(header.arguments)
        return key == _TYPE and bool((yield from self._reader.one_of(('"function"',))))

    def _key(self) -> Reading[str]:
        yield from self._reader.run(SPACE)
        key = yield from self._reader.one_of((_NAME, _TYPE, *_ARGUMENTS))
        is_key = bool(key) and (yield from self._punctuation(":"))
        yield from self._reader.run(SPACE)
        return key if is_key else ""

    def _punctuation(self, char: str) -> Reading[bool]:
        yield from self._reader.run(SPACE)
        return bool((yield from self._reader.one_of((char,))))

    def _streamed_call(self, name: str) -> Reading[bool]:
        """Read arguments, streaming them, and what follows them in the object of the call."""
        if not (yield from self._streamed_object(name)):
            return False
        return (yield from self._rest_of_object())

    def _streamed_object(self, name: str) -> Reading[bool]:
        if (yield from self._reader.peek()) != "{":
            return False
        self._begin(name)
        self._stream(CallArguments)
        is_complete = yield from self._object()
        self._stream(None)
        if is_complete:
            self._end()
        return is_complete

    def _whole_call(self, header: _Header) -> Reading[bool]:
        self._begin(header.name)
        self._arguments(header.arguments)
        self._end()
        return (yield from self._rest_of_object())

    def _held_object(self) -> Reading[str]:
        if (yield from self._reader.peek()) != "{":
            return ""
        before = self._reader.take()
        is_complete = yield from self._object()
        text = self._reader.take()
        self._reader.give_back(before + text)
        return text if is_complete else ""

    def _rest_of_object(self) -> Reading[bool]:
        """Read to the brace that ends the object; one that is missing is forgiven."""
        yield from self._reader.run(SPACE)
        char = yield from self._reader.peek()
        if char == "}":
            self._reader.skip()
        elif char == "," and not (yield from self._object(depth=1)):
            return False
        self._reader.take()
        return True

    def _object(self, depth: int = 0) -> Reading[bool]:
        """Read to the end of an object that is open `depth` levels; False where the text ends."""
        while True:
            yield from self._reader.run(_OUTSIDE_STRING)
            char = yield from self._reader.peek()
            if not char:
                return False
            self._reader.skip()
            if char == '"':
                yield from self._reader.quoted('"', _INSIDE_STRING)
            else:
                depth += 1 if char in "{[" else -1
            if not depth:
                return True
