"""The last stage of a choice: text to events, tool calls found and numbered on the way."""

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.output.events import Content, Event, ToolCallArguments, ToolCallBegin
from gateway.output.tools.events import CallArguments, CallBegin, Text, ToolEvent, ToolParser


class Sink(Protocol):
    """Takes the text of one choice as it grows."""

    @property
    def has_calls(self) -> bool:
        """Whether a tool call was met, its arguments complete."""
        ...

    def push(self, text: str) -> list[Event]: ...

    def finish(self) -> list[Event]: ...


class TextSink:
    """All text is content."""

    __slots__ = ("_index",)

    has_calls = False

    def __init__(self, index: int) -> None:
        self._index = index

    def push(self, text: str) -> list[Event]:
        return [Content(self._index, text)] if text else []

    def finish(self) -> list[Event]:
        return []


class CallSink:
    """Text may hold tool calls. Without `parallel` the first call is kept and the rest dropped."""

    __slots__ = ("_index", "_new_id", "_parallel", "_parser", "_position", "has_calls")

    def __init__(
        self, index: int, parser: ToolParser, parallel: bool, new_id: Callable[[], str]
    ) -> None:
        self._index = index
        self._parser = parser
        self._parallel = parallel
        self._new_id = new_id
        self._position = -1
        self.has_calls = False

    def push(self, text: str) -> list[Event]:
        return self._number(self._parser.push(text)) if text else []

    def finish(self) -> list[Event]:
        return self._number(self._parser.finish())

    def _number(self, found: Sequence[ToolEvent]) -> list[Event]:
        events: list[Event] = []
        for item in found:
            if isinstance(item, Text):
                events.append(Content(self._index, item.text))
                continue
            self._position += isinstance(item, CallBegin)
            if self._parallel or self._position == 0:
                self._add(item, events)
        return events

    def _add(self, item: ToolEvent, events: list[Event]) -> None:
        if isinstance(item, CallBegin):
            events.append(ToolCallBegin(self._index, self._position, self._new_id(), item.name))
        elif isinstance(item, CallArguments):
            events.append(ToolCallArguments(self._index, self._position, item.text))
        else:
            self.has_calls = True
