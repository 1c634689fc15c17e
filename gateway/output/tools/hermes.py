"""Calls as Hermes, Qwen and SmolLM write them: JSON between tags."""

from gateway.output.tools.json_calls import JsonParser
from gateway.output.tools.parser import SPACE, Attempt
from gateway.output.tools.reader import Reading

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


class HermesParser(JsonParser):
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, anywhere in the content."""

    markers = (_OPEN, _CLOSE)
    reads_lines = False

    def _untagged(self, char: str) -> Attempt | None:
        return None

    def _tags(self) -> dict[str, Attempt]:
        return {_OPEN: self._tagged_call}

    def _tagged_call(self) -> Reading[bool]:
        yield from self._reader.run(SPACE)
        if (yield from self._reader.peek()) != "{" or not (yield from self._call()):
            return False
        yield from self._reader.run(SPACE)
        if (yield from self._reader.one_of((_CLOSE,))):
            self._reader.take()
        return True
