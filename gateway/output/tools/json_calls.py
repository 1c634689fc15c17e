"""Calls written as JSON: `{"name": ..., "parameters": {...}}`, several in a list or in a row."""

import re

from gateway.output.tools.events import CallArguments
from gateway.output.tools.parser import SPACE, Attempt, CallParser
from gateway.output.tools.reader import Reading

_KEYS = ('"name"', '"type"', '"parameters"', '"arguments"')
_OUTSIDE_STRING = re.compile(r'[^"{}\[\]]*')
_INSIDE_STRING = re.compile(r'[^"\\]*')
_LIST_SEPARATORS = re.compile(r"[\s,]*")


class JsonParser(CallParser):
    """Plain JSON, as guided decoding yields it and many models write it.

    The keys may come in any order, the arguments as `parameters` or `arguments`, with or without
    `"type": "function"`; arguments are streamed as the model writes them, once the name is known.
    An object with any other key before its arguments is content.
    """

    def _untagged(self, char: str) -> Attempt | None:
        return {"{": self._call, "[": self._list}.get(char)

    def _tags(self) -> dict[str, Attempt]:
        return {}

    def _list(self) -> Reading[bool]:
        self._reader.skip()
        while True:
            yield from self._reader.run(_LIST_SEPARATORS)
            char = yield from self._reader.peek()
            if char == "]" and self._called:
                self._reader.skip()
                self._reader.take()
                return True
            if char != "{" or not (yield from self._call()):
                return False

    def _call(self) -> Reading[bool]:
        """Read an object, at its brace; return False where it turns out to be no call."""
        name, early = "", ""  # arguments that came before the name
        self._reader.skip()
        while True:
            key = yield from self._key()
            if key == '"name"':
                name = (yield from self._reader.one_of(self._quoted_names()))[1:-1]
                if name and early:
                    self._call_whole(name, early)
                    return (yield from self._rest_of_object())
            elif key == '"type"':
                known = yield from self._reader.one_of(('"function"',))
            ...
