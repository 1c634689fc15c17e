"""How calls are written in an answer: as `tool_calls`, or as the older `function_call`.

A request that declares `functions` reads its answer as it was before there were tools: one call,
which has no id. Shapes: ChatCompletionMessageToolCall and ChatCompletionMessageToolCallChunk of
the OpenAI API reference, and the deprecated `function_call` of message and delta.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.openai.shapes import JsonObject
from gateway.output.events import StopCause, ToolCallArguments, ToolCallBegin


@dataclass(slots=True)
class Call:
    """A call as far as it has come."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    def function(self) -> JsonObject:
        return {"name": self.name, "arguments": "".join(self.arguments)}


class CallForm(Protocol):
    """Writes calls into messages and deltas, and why a choice ended."""

    def message(self, calls: Sequence[Call]) -> JsonObject:
        """Return what a whole message with these calls has besides its content."""
        ...

    def begin(self, event: ToolCallBegin) -> JsonObject:
        """Return the delta in which a call begins."""
        ...

    def arguments(self, event: ToolCallArguments) -> JsonObject:
        """Return the delta with a piece of a call's arguments."""
        ...

    def reason(self, cause: StopCause) -> str:
        """Return a choice's `finish_reason`."""
        ...


class ToolCallForm:
    """Calls of `tools`."""

    def message(self, calls: Sequence[Call]) -> JsonObject:
        written = [{"id": c.id, "type": "function", "function": c.function()} for c in calls]
        return {"tool_calls": written}

    def begin(self, event: ToolCallBegin) -> JsonObject:
        call = {
            "index": event.position,
            "id": event.id,
            "type": "function",
            "function": {"name": event.name, "arguments": ""},
        }
        return {"tool_calls": [call]}

    def arguments(self, event: ToolCallArguments) -> JsonObject:
        call = {"index": event.position, "function": {"arguments": event.text}}
        return {"tool_calls": [call]}

    def reason(self, cause: StopCause) -> str:
        return cause.value


class FunctionCallForm:
    """The call of one of `functions`."""

    def message(self, calls: Sequence[Call]) -> JsonObject:
        return {"function_call": calls[0].function()}

    def begin(self, event: ToolCallBegin) -> JsonObject:
        return {"function_call": {"name": event.name, "arguments": ""}}

    def arguments(self, event: ToolCallArguments) -> JsonObject:
        return {"function_call": {"arguments": event.text}}

    def reason(self, cause: StopCause) -> str:
        return "function_call" if cause is StopCause.TOOL_CALLS else cause.value


TOOL_CALLS: CallForm = ToolCallForm()
FUNCTION_CALL: CallForm = FunctionCallForm()
