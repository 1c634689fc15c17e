"""Calls as Llama 3 writes them: JSON, `name.call(...)`, and `<function=name>{...}</function>`."""

from typing import ClassVar

from gateway.output.tools.json_calls import JsonParser
from gateway.output.tools.keyword_calls import PYTHON_TAG, KeywordCallParser
from gateway.output.tools.parser import SPACE, Attempt
from gateway.output.tools.reader import Reading

_FUNCTION, _END_FUNCTION = "<function=", "</function>"
_CLOSINGS = (_END_FUNCTION, "<function>", _FUNCTION)
_HEADER, _END_HEADER = "<|start_header_id|>", "<|end_header_id|>"


class LlamaParser(JsonParser, KeywordCallParser):
    """All forms that Llama 3.1 is trained on, several calls apart by `;`, `,` or white space.

    JSON is read with or without the python tag before it, `name.call(...)` only with it; what
    else follows the tag is code, and content. A header repeated within the turn is dropped.
    """

    markers: ClassVar[tuple[str, ...]] = (PYTHON_TAG, _HEADER, _END_HEADER)

    def _tags(self) -> dict[str, Attempt]:
        return {
            PYTHON_TAG: self._after_python_tag,
            _FUNCTION: self._function,
            _HEADER: self._turn_header,
            _END_HEADER: self._stray_marker,
        }

    def _function(self) -> Reading[bool]:
        """Read `name>{...}`, `name={...}` or `name{...}`, and further ones that follow at once."""
        while True:
            name = yield from self._reader.word(self._names, ">={ \n")
            yield from self._reader.one_of(("=", ">"))
            yield from self._reader.run(SPACE)
            if not name or not (yield from self._function_arguments(name)):
                return False
            yield from self._reader.run(SPACE)
            closing = yield from self._reader.one_of(_CLOSINGS)
            if closing:
                self._reader.take()
            if closing != _FUNCTION:
                return True

    def _function_arguments(self, name: str) -> Reading[bool]:
        if (yield from self._reader.peek()) == "<" and name in self._without_arguments:
            self._whole(name, "{}")
            return True
        return (yield from self._streamed_object(name))

    def _turn_header(self) -> Reading[bool]:
        before = self._reader.take()
        if (yield from self._reader.one_of((f"assistant{_END_HEADER}",))):
            yield from self._reader.run(SPACE)
            text = self._reader.take()
            self._reader.give_back(before + text if self._keep_markers else "")
            return not self._keep_markers
        self._reader.give_back(before if self._keep_markers else before[: -len(_HEADER)])
        return False

    def _stray_marker(self) -> Reading[bool]:
        yield from ()
        text = self._reader.take()
        self._reader.give_back(text if self._keep_markers else text[: -len(_END_HEADER)])
        return False
        yield
