"""Calls written as Python: `name(key='value')`, and what Llama's python tag announces."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from gateway.output.tools.literal import literal_to_json
from gateway.output.tools.parser import SPACE, Attempt, CallParser
from gateway.output.tools.reader import Reading

PYTHON_TAG = "<|python_tag|>"

_WORD = re.compile(r"\w*")
_LIST_SEPARATORS = re.compile(r"[\s,]*")
_OUTSIDE_STRING = re.compile(r"""[^'"()\[\]{},]*""")
_INSIDE_STRING = {"'": re.compile(r"[^'\\]*"), '"': re.compile(r'[^"\\]*')}


class KeywordCallParser(CallParser):
    """Arguments by keyword, each converted to JSON once it is complete."""

    markers: ClassVar[tuple[str, ...]] = (PYTHON_TAG,)

    def _after_python_tag(self) -> Reading[bool]:
        """Read a call, or `name.call(...)`; anything else, code above all, is content."""
        before, num_calls = self._reader.take(), self._num_calls
        yield from self._reader.run(SPACE)
        attempt = self._untagged((yield from self._reader.peek()))
        is_call = yield from attempt() if attempt else self._builtin_call()
        if self._num_calls == num_calls:
            self._reader.give_back(before if self._keep_markers else before[: -len(PYTHON_TAG)])
        return is_call

    def _builtin_call(self) -> Reading[bool]:
        return self._keyword_call({f"{name}.call(": name for name in self._names})

    def _keyword_call(self, openings: Mapping[str, str]) -> Reading[bool]:
        """Read `name(...)`; False where it is no call, or breaks off in one."""
        name = openings.get((yield from self._reader.one_of(openings)))
        if name is None:
            return False
        num_arguments = 0
        while not (yield from self._at_closing_parenthesis()):
            key = yield from self._keyword()
            if key and not num_arguments:
                self._begin(name)
            is_read = bool(key) and (yield from self._argument(key, num_arguments))
            if not is_read:
                return (yield from self._break_off(num_arguments))
            num_arguments += 1
        if not num_arguments:
            self._begin(name)
        self._arguments("}" if num_arguments else "{}")
        self._end()
        self._reader.take()
        return True

    def _at_closing_parenthesis(self) -> Reading[bool]:
        yield from self._reader.run(SPACE)
        return bool((yield from self._reader.one_of((")",))))

    def _keyword(self) -> Reading[str]:
        """Read `key =` and return the key; empty where there is none."""
        before = self._reader.take()
        yield from self._reader.run(_WORD)
        key = self._reader.take()
        self._reader.give_back(before + key)
        yield from self._reader.run(SPACE)
        return key if (yield from self._reader.one_of(("=",))) else ""

    def _argument(self, key: str, position: int) -> Reading[bool]:
        """Read and emit a value up to its comma or parenthesis; False where the text ends."""
        self._reader.take()
        yield from self._value()
        if not (yield from self._reader.peek()):
            return False
        value = literal_to_json(self._reader.take())
        self._arguments(f"{', ' if position else '{'}{json.dumps(key)}: {value}")
        yield from self._reader.one_of((",",))
        return True

    def _break_off(self, num_arguments: int) -> Reading[bool]:
        """Drop what the end of the text leaves of an argument."""
        if num_arguments and not (yield from self._reader.peek()) and self._reader.is_closed:
            self._reader.take()
        return False

    def _value(self) -> Reading[None]:
        depth = 0
        while True:
            yield from self._reader.run(_OUTSIDE_STRING)
            char = yield from self._reader.peek()
            if not char or (not depth and char in ",)"):
                return
            self._reader.skip()
            if char in _INSIDE_STRING:
                yield from self._reader.quoted(char, _INSIDE_STRING[char])
            elif char in "([{":
                depth += 1
            elif depth and char in ")]}":
                depth -= 1


class PythonicParser(KeywordCallParser):
    """A list of calls as Llama 3.2 writes them: `[f(a='x'), g(b=1)]`."""

    def __init__(
        self,
        names: Sequence[str],
        keep_markers: bool = False,
        without_arguments: Collection[str] = (),
    ) -> None:
        super().__init__(names, keep_markers, without_arguments)
        self._openings = {f"{name}(": name for name in names}

    def _untagged(self, char: str) -> Attempt | None:
        return self._list if char == "[" else None

    def _tags(self) -> dict[str, Attempt]:
        return {PYTHON_TAG: self._after_python_tag}

    def _list(self) -> Reading[bool]:
        self._reader.skip()
        yield from self._reader.run(SPACE)
        if not (yield from self._keyword_call(self._openings)):
            return False
        while not (yield from self._at_closing_bracket()):
            if not (yield from self._reader.peek()):
                return True
            if not (yield from self._keyword_call(self._openings)):
                return False
        return True

    def _at_closing_bracket(self) -> Reading[bool]:
        yield from self._reader.run(_LIST_SEPARATORS)
        if not (yield from self._reader.one_of(("]",))):
            return False
        self._reader.take()
        return True
