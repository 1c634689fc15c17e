"""Calls written as JSON: `{"name": ..., "parameters": {...}}`, several in a list or in a row."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gateway.output.tools.escapes import escape, object_in, with_escapes
from gateway.output.tools.events import CallArguments
from gateway.output.tools.parser import SPACE, Attempt, CallParser
from gateway.output.tools.reader import Reading

_NAME, _TYPE, _ARGUMENTS = '"name"', '"type"', ('"parameters"', '"arguments"')
_FUNCTION = '"function"'
_OUTSIDE_STRING = re.compile(r'[^"{}\[\]]*')
_INSIDE_STRING = re.compile(r'[^"\\]*')
_WITHOUT_CONTROLS = re.compile(r'[^"\\\x00-\x1f]*')
_ASSISTANT = "assistant"
_FENCED = ("json", "tool_call", "tool_code")
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
    An object with any other key before its arguments is content. Around calls, a code fence, a
    brace too many and the words of a turn's header are dropped.
    """

    def __init__(
        self,
        names: Sequence[str],
        keep_markers: bool = False,
        without_arguments: Collection[str] = (),
    ) -> None:
        super().__init__(names, keep_markers, without_arguments)
        self._is_fenced = False
        self._may_have_brace = False  # a call has just ended
        self._quoted = {json.dumps(name, ensure_ascii=False): name for name in names}

    def _untagged(self, char: str) -> Attempt | None:
        attempts = {
            "{": self._call,
            "[": self._list,
            "`": self._fence,
            "}": self._extra_brace,
            _ASSISTANT[0]: self._header,
        }
        return attempts.get(char)

    def _tags(self) -> dict[str, Attempt]:
        return {}

    def _end(self) -> None:
        super()._end()
        self._may_have_brace = True

    def _read_content(self) -> Reading[bool]:
        self._may_have_brace = False
        return (yield from super()._read_content())

    def _fence(self) -> Reading[bool]:
        """Read the fence before a call, or the one behind it."""
        if not (yield from self._reader.one_of(("```",))):
            return False
        if self._is_fenced:
            self._is_fenced = False
            self._reader.take()
            return True
        yield from self._reader.one_of(_FENCED)
        self._is_fenced = yield from self._call_ahead()
        return self._is_fenced

    def _call_ahead(self) -> Reading[bool]:
        """Read a call after white space."""
        yield from self._reader.run(SPACE)
        char = yield from self._reader.peek()
        if char == "{":
            return (yield from self._call())
        return char == "[" and (yield from self._list())

    def _extra_brace(self) -> Reading[bool]:
        if not (self._may_have_brace and (yield from self._reader.one_of(("}",)))):
            return False
        self._may_have_brace = False
        self._reader.take()
        return True

    def _header(self) -> Reading[bool]:
        """Read what a repeated header leaves where its control tokens are not shown."""
        if not (yield from self._reader.one_of((f"{_ASSISTANT}\n",))):
            return False
        return (yield from self._call_ahead())

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

    def _call(self, is_wrapped: bool = False) -> Reading[bool]:
        """Read an object, at its brace; False where it is no call, or breaks off in one."""
        self._reader.skip()
        header = _Header()
        while True:
            key = yield from self._key()
            char = yield from self._reader.peek()
            if key in _ARGUMENTS and header.name and char == "{":
                return (yield from self._streamed_call(header.name))
            if key == _FUNCTION and char == "{" and not is_wrapped:
                return (yield from self._call(is_wrapped=True)) and (
                    yield from self._rest_of_object()
                )
            if not (yield from self._field(key, header)):
                return False
            if header.name and header.arguments:
                return (yield from self._whole_call(header))
            if not (yield from self._punctuation(",")):
                return (yield from self._bare_call(header.name))

    def _field(self, key: str, header: _Header) -> Reading[bool]:
        if key == _NAME:
            quoted = yield from self._reader.one_of(self._quoted)
            header.name = self._quoted.get(quoted, "")
            return bool(header.name)
        if key in _ARGUMENTS:
            header.arguments = yield from self._held_arguments()
            return bool(header.arguments)
        return key == _TYPE and bool((yield from self._reader.one_of(('"function"',))))

    def _key(self) -> Reading[str]:
        yield from self._reader.run(SPACE)
        key = yield from self._reader.one_of((_NAME, _TYPE, _FUNCTION, *_ARGUMENTS))
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
        self._whole(header.name, with_escapes(header.arguments))
        return (yield from self._rest_of_object())

    def _bare_call(self, name: str) -> Reading[bool]:
        """Read the end of a call that names no arguments, of a tool that needs none."""
        if name not in self._without_arguments or not (yield from self._reader.one_of(("}",))):
            return False
        self._whole(name, "{}")
        return True

    def _held_arguments(self) -> Reading[str]:
        """Read an object, its text in a string, or null; empty where it is none of these."""
        char = yield from self._reader.peek()
        if char == '"':
            return object_in((yield from self._held_string()))
        if char == "n":
            return "{}" if (yield from self._reader.one_of(("null",))) else ""
        return (yield from self._held_object())

    def _held_string(self) -> Reading[str]:
        before = self._reader.take()
        self._reader.skip()
        yield from self._reader.quoted('"', _INSIDE_STRING)
        text = self._reader.take()
        self._reader.give_back(before + text)
        return text

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
                yield from self._string()
            else:
                depth += 1 if char in "{[" else -1
            if not depth:
                return True

    def _string(self) -> Reading[None]:
        """Read to the end of a string, its quote read; what JSON forbids in it is escaped."""
        if self._kind is None:
            yield from self._reader.quoted('"', _INSIDE_STRING)
            return
        while True:
            yield from self._reader.run(_WITHOUT_CONTROLS)
            char = yield from self._reader.peek()
            written = escape(char)
            if char == "\\":
                self._reader.skip()
                written = escape((yield from self._reader.peek()))[1:]
            if written:
                self._reader.replace(written)
                continue
            if (yield from self._reader.peek()):
                self._reader.skip()
            if char != "\\":
                return


class GuidedJsonParser(JsonParser):
    """What a grammar holds to JSON: calls are the whole answer, or it has none."""

    reads_lines = False
