"""The frames of a chat stream. What stays the same in a stream is rendered once, at its start."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import orjson

from gateway.errors import GatewayError
from gateway.generation import Usage
from gateway.openai.calls import TOOL_CALLS, CallForm
from gateway.openai.shapes import JsonObject, error_object, logprobs_object, usage_object
from gateway.output.events import (
    ChoiceEnd,
    Content,
    Event,
    ToolCallArguments,
    ToolCallBegin,
)

DONE = b"data: [DONE]\n\n"


def error_frame(error: GatewayError) -> bytes:
    """Return the frame that tells of a failure; no [DONE] follows it."""
    return b"data: " + orjson.dumps(error_object(error)) + b"\n\n"


class StreamUsage(msgspec.Struct, frozen=True):
    """Which chunks of a stream carry the usage: a last one of its own, or every one as well."""

    at_end: bool = False
    always: bool = False


class HasUsage(Protocol):
    """Something that knows the tokens so far; counting them waits until they are told."""

    @property
    def usage(self) -> Usage: ...


class ChunkWriter:
    """Renders events as the `chat.completion.chunk` frames of one stream.

    Shape: CreateChatCompletionStreamResponse of the OpenAI API reference. Id and creation time
    are the same in all chunks; with the usage asked for, the others carry `usage: null`.
    `num_top` is None where log probabilities were not asked for.
    """

    __slots__ = (
        "_after",
        "_always",
        "_before",
        "_calls",
        "_content_before",
        "_num_top",
    )

    def __init__(
        self,
        head: JsonObject,
        stream_usage: StreamUsage,
        num_top: int | None,
        calls: CallForm = TOOL_CALLS,
    ) -> None:
        self._calls = calls
        self._num_top = num_top
        self._before = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
        self._after = b',"usage":null}\n\n' if stream_usage.at_end else b"}\n\n"
        self._always = stream_usage.always
        self._content_before: dict[int, bytes] = {}

    def opening(self, num_choices: int, prompt_token_ids: Sequence[int], reply: HasUsage) -> bytes:
        """Return the first chunk of every choice: who speaks. The prompt's ids where asked."""
        self._tell_usage(reply)
        role = {"role": "assistant", "content": "", "refusal": None}
        frames = [self._frame(index, role) for index in range(num_choices)]
        if prompt_token_ids:
            ids = b',"prompt_token_ids":' + orjson.dumps(prompt_token_ids)
            frames[0] = frames[0].removesuffix(self._after) + ids + self._after
        return b"".join(frames)

    def events(self, events: list[Event], reply: HasUsage) -> bytes:
        """Return the frames for one step of the answer."""
        if self._always:
            self._tell_usage(reply)
        if len(events) == 1:
            return RENDERERS[type(events[0])](self, events[0])
        return b"".join([RENDERERS[type(event)](self, event) for event in events])

    def _tell_usage(self, reply: HasUsage) -> None:
        if self._always:
            self._after = b',"usage":' + orjson.dumps(usage_object(reply.usage)) + b"}\n\n"

    def usage(self, usage: Usage) -> bytes:
        """Return the last chunk, which has no choices."""
        return self._before + b'],"usage":' + orjson.dumps(usage_object(usage)) + b"}\n\n"

    def _content(self, event: Content) -> bytes:
        """The hot path: only the escaped text is new."""
        if self._num_top is not None or event.token_ids:
            return self._full_content(event)
        if not event.text:
            return b""
        before = self._content_before.get(event.index)
        if before is None:
            before = self._before + b'{"index":%d,"delta":{"content":' % event.index
            self._content_before[event.index] = before
        text = orjson.dumps(event.text)
        return before + text + b'},"logprobs":null,"finish_reason":null}]' + self._after

    def _full_content(self, event: Content) -> bytes:
        logprobs = logprobs_object(event.logprobs, self._num_top or 0) if event.logprobs else None
        extras: JsonObject = {"token_ids": event.token_ids} if event.token_ids else {}
        return self._frame(event.index, {"content": event.text}, logprobs=logprobs, **extras)

    def _tool_call_begin(self, event: ToolCallBegin) -> bytes:
        return self._frame(event.index, self._calls.begin(event))

    def _tool_call_arguments(self, event: ToolCallArguments) -> bytes:
        return self._frame(event.index, self._calls.arguments(event))

    def _choice_end(self, event: ChoiceEnd) -> bytes:
        return self._frame(event.index, {}, finish_reason=self._calls.reason(event.cause))

    def _frame(
        self,
        index: int,
        delta: JsonObject,
        *,
        logprobs: JsonObject | None = None,
        finish_reason: str | None = None,
        **extras: Any,
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
            **extras,
        }
        return self._before + orjson.dumps(choice) + b"]" + self._after


RENDERERS: dict[type[Event], Callable[[ChunkWriter, Any], bytes]] = {
    Content: ChunkWriter._content,
    ToolCallBegin: ChunkWriter._tool_call_begin,
    ToolCallArguments: ChunkWriter._tool_call_arguments,
    ChoiceEnd: ChunkWriter._choice_end,
}
