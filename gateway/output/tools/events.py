"""What a tool parser finds in a text. Knows no call ids and no choices."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Text(msgspec.Struct, frozen=True, gc=False):
    """Content: text that belongs to no call."""

    text: str


class CallBegin(msgspec.Struct, frozen=True, gc=False):
    """A call of the tool `name` begins."""

    name: str


class CallArguments(msgspec.Struct, frozen=True, gc=False):
    """A piece of the JSON arguments of the call that began last."""

    text: str


class CallEnd(msgspec.Struct, frozen=True, gc=False):
    """The arguments of the call that began last are complete."""


ToolEvent = Text | CallBegin | CallArguments | CallEnd


class ToolParser(Protocol):
    """Reads one answer: the same text gives the same events joined, however it was cut."""

    def push(self, text: str) -> Sequence[ToolEvent]:
        """Return what `text` decides; text that may yet be a call is held back."""
        ...

    def finish(self) -> Sequence[ToolEvent]:
        """Return what is held back: content, unless it merely separated calls."""
        ...
