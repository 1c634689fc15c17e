"""What all tool parsers share: where calls may stand in a text, and how they become events."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from gateway.output.tools.events import CallArguments, CallBegin, CallEnd, Text, ToolEvent
from gateway.output.tools.reader import Reader, Reading

Attempt = Callable[[], Reading[bool]]

SPACE = re.compile(r"\s*")
_SEPARATORS = re.compile(r"[\s;,]*")
_ANY = re.compile(r".*", re.DOTALL)
_NOT_TAG = re.compile(r"[^<]*")


class CallParser(ABC):
    """Reads an answer of content and calls, each call announced by a tag or standing by itself.

    A call stands by itself only where no content precedes it. Only calls of the tools named
    `names` count; all other text is content. A call that breaks off stays as it was streamed,
    and what follows is content. With `keep_markers` a control token that announced no call is
    content, else it is dropped.
    """

    markers: ClassVar[tuple[str, ...]] = ()
    """Control tokens this format needs to see, though they are skipped in text."""

    def __init__(self, names: Sequence[str], keep_markers: bool = False) -> None:
        self._names = tuple(names)
        self._keep_markers = keep_markers
        self._reader = Reader()
        self._events: list[ToolEvent] = []
        self._kind: type[Text] | type[CallArguments] | None = None  # what is being read, if known
        self._num_calls = 0
        self._announced = self._tags()
        self._content = _NOT_TAG if self._announced else _ANY
        self._steps = self._read()

    def push(self, text: str) -> list[ToolEvent]:
        """Return what `text` decides; text that may yet be a call is held back."""
        if self._kind is Text and self._content.fullmatch(text):
            return [Text(text)] if text else []
        self._reader.feed(text)
        next(self._steps)
        return self._drain()

    def finish(self) -> list[ToolEvent]:
        """Return what is held back: content, unless it merely separated calls."""
        self._reader.close()
        next(self._steps, None)
        return self._drain()

    @abstractmethod
    def _untagged(self, char: str) -> Attempt | None:
        """Return how to read a call that begins with `char` by itself."""

    @abstractmethod
    def _tags(self) -> dict[str, Attempt]:
        """Return how to read what follows each tag; every tag begins with `<`."""

    def _begin(self, name: str) -> None:
        self._reader.take()
        self._events.append(CallBegin(name))
        self._num_calls += 1

    def _arguments(self, text: str) -> None:
        self._add(CallArguments, text)

    def _end(self) -> None:
        self._events.append(CallEnd())

    def _stream(self, kind: type[Text] | type[CallArguments] | None) -> None:
        """Say what is read from here on: it is emitted as it comes, or held where None."""
        if self._kind is not None:
            self._add(self._kind, self._reader.take())
        self._kind = kind

    def _read(self) -> Reading[None]:
        between = True  # nothing but separators since the start or since the last call
        while True:
            if between:
                yield from self._reader.run(_SEPARATORS if self._num_calls else SPACE)
            char = yield from self._reader.peek()
            if not char:
                break
            between = yield from self._attempt(char, between)
            if not between:
                yield from self._read_content()
        if not (between and self._num_calls):
            self._add(Text, self._reader.take())

    def _attempt(self, char: str, between: bool) -> Reading[bool]:
        attempt = self._untagged(char) if between else None
        if attempt is not None:
            return (yield from attempt())
        tag = (yield from self._reader.one_of(self._announced)) if char == "<" else ""
        return (yield from self._announced[tag]()) if tag else False

    def _read_content(self) -> Reading[None]:
        self._add(Text, self._reader.take())
        self._stream(Text)
        yield from self._reader.run(self._content)
        self._stream(None)

    def _drain(self) -> list[ToolEvent]:
        self._stream(self._kind)
        events, self._events = self._events, []
        return events

    def _add(self, kind: type[Text] | type[CallArguments], text: str) -> None:
        last = self._events[-1] if self._events else None
        if isinstance(last, kind):
            self._events[-1] = kind(last.text + text)
        elif text:
            self._events.append(kind(text))
