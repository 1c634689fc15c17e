"""Calls as Llama 3 writes them: JSON, `name.call(...)`, and `<function=name>{...}</function>`."""

from gateway.output.tools.json_calls import JsonParser
from gateway.output.tools.keyword_calls import PYTHON_TAG, KeywordCallParser
from gateway.output.tools.parser import SPACE, Attempt
from gateway.output.tools.reader import Reading

_FUNCTION, _END_FUNCTION = "<function=", "</function>"


class LlamaParser(JsonParser, KeywordCallParser):
    """All forms that Llama 3.1 is trained on, several calls apart by `;`, `,` or white space.

    JSON is read with or without the python tag before it, `name.call(...)` only with it; what
    else follows the tag is code, and content.
    """

    def _tags(self) -> dict[str, Attempt]:
        return {PYTHON_TAG: self._after_python_tag, _FUNCTION: self._function}

    def _function(self) -> Reading[bool]:
        names = {f"{name}>": name for name in self._names}
        name = names.get((yield from self._reader.one_of(names)))
        yield from self._reader.run(SPACE)
        if name is None or not (yield from self._streamed_object(name)):
            return False
        yield from self._reader.run(SPACE)
        if (yield from self._reader.one_of((_END_FUNCTION,))):
            self._reader.take()
        return True
