"""What all tool parsers share: where calls may stand in a text, and how they become events."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar

from gateway.output.tools.events import CallArguments, CallBegin, CallEnd, Text, ToolEvent
from gateway.output.tools.reader import Reader, Reading

Attempt = Callable[[], Reading[bool]]

SPACE = re.compile(r"\s*")
_SEPARATORS = re.compile(r"[\s;,]*")
_ANY = re.compile(r".*", re.DOTALL)
_NOT_TAG = re.compile(r"[^<]*")
_LINE = re.compile(r"[^\n]*")
_NOT_TAG_IN_LINE = re.compile(r"[^<\n]*")


class CallParser(ABC):
    """Reads an answer of content and calls, each call announced by a tag or standing by itself.

    A call stands by itself at the start, after another, or where a line begins. Only calls of the
    tools named `names` count; all other text is content. A call that breaks off stays as it was
    streamed, and what follows is content; so does one of which more would have to be held back
    than may be. With `keep_markers` a control token that announced no
    call is content, else it is dropped.
    """

    markers: ClassVar[tuple[str, ...]] = ()
    """Control tokens this format needs to see, though they are skipped in text."""

    reads_lines: ClassVar[bool] = True
    """Whether a call may stand by itself on a line after content."""

    def __init__(
        self,
        names: Sequence[str],
        keep_markers: bool = False,
        without_arguments: Collection[str] = (),
    ) -> None:
        """`without_arguments` are those of `names` that can be called with none."""
        self._names = tuple(names)
        self._without_arguments = frozenset(without_arguments)
        self._keep_markers = keep_markers
        self._reader = Reader()
        self._events: list[ToolEvent] = []
        self._kind: type[Text] | type[CallArguments] | None = None  # what is being read, if known
        self._num_calls = 0
        self._announced = self._tags()
        self._content = self._content_pattern()
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

    def _content_pattern(self) -> re.Pattern[str]:
        if self.reads_lines:
            return _NOT_TAG_IN_LINE if self._announced else _LINE
        return _NOT_TAG if self._announced else _ANY

    def _begin(self, name: str) -> None:
        self._reader.take()
        self._events.append(CallBegin(name))
        self._num_calls += 1

    def _arguments(self, text: str) -> None:
        self._add(CallArguments, text)

    def _end(self) -> None:
        self._events.append(CallEnd())

    def _whole(self, name: str, arguments: str) -> None:
        self._begin(name)
        self._arguments(arguments)
        self._end()

    def _stream(self, kind: type[Text] | type[CallArguments] | None) -> None:
        """Say what is read from here on: it is emitted as it comes, or held where None."""
        if self._kind is not None:
            self._add(self._kind, self._reader.take())
        self._kind = kind

    def _read(self) -> Reading[None]:
        between = True  # nothing but separators since the start or since the last call
        begins_line = False
        while True:
            if between or begins_line:
                yield from self._reader.run(_SEPARATORS if self._num_calls else SPACE)
            char = yield from self._reader.peek()
            if not char and self._reader.is_closed:
                break
            between = bool(char) and (yield from self._attempt(char, between or begins_line))
            begins_line = not between and (yield from self._read_content())
        if not (between and self._num_calls):
            self._add(Text, self._reader.take())

    def _attempt(self, char: str, may_stand_alone: bool) -> Reading[bool]:
        attempt = self._untagged(char) if may_stand_alone else None
        if attempt is not None:
            return (yield from attempt())
        tag = (yield from self._reader.one_of(self._announced)) if char == "<" else ""
        return (yield from self._announced[tag]()) if tag else False

    def _read_content(self) -> Reading[bool]:
        """Emit content up to where a call may begin; tell whether that is a line's end."""
        self._add(Text, self._reader.take())
        self._stream(Text)
        yield from self._reader.run(self._content)
        self._stream(None)
        return self.reads_lines and (yield from self._reader.peek()) == "\n"

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
