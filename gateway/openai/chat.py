"""A chat answer on OpenAI's wire: the same steps become chunks, or one whole completion."""

import time
from dataclasses import dataclass, field
from secrets import token_hex

from gateway.errors import GatewayError
from gateway.openai.calls import Call
from gateway.openai.chat_task import ChatTask
from gateway.openai.chunks import DONE, ChunkWriter, error_frame
from gateway.openai.shapes import JsonObject, logprobs_object, usage_object
from gateway.output.answer import Answer
from gateway.output.events import (
    Content,
    Event,
    StopCause,
    TokenLogprob,
    ToolCallArguments,
    ToolCallBegin,
)
from gateway.reply import Reply, assistant


async def chat_reply(task: ChatTask) -> Reply:
    """Compile, render and return the answer to come; nothing is generated yet.

    Raises RateLimited where limits do not let it come.
    """
    model, guide = task.model, await task.draft.guide()
    prompt = await model.renderer.render_async(task.conversation, model.context("messages"))
    answer = Answer(task.spec, model.vocabulary)
    reply = Reply(
        assistant(model.engine, model.vocabulary),
        task.draft.complete(prompt, guide),
        answer,
        tells_prompt=task.spec.return_token_ids,
        lengths=model.lengths,
    )
    await model.admit([reply])
    return reply


class ChatFrames:
    """The frames of a chat stream: roles, deltas, finish reasons, usage, [DONE]."""

    __slots__ = ("_opening", "_reply", "_usage_at_end", "_writer", "steps")

    def __init__(self, task: ChatTask, reply: Reply) -> None:
        head = chat_head(task, "chat.completion.chunk")
        self._writer = ChunkWriter(head, task.stream_usage, task.num_top, task.calls)
        self._opening = self._writer.opening(task.spec.num_choices, reply.prompt_token_ids, reply)
        self._opening += self._writer.events(echo_events(task), reply)
        self._usage_at_end = task.stream_usage.at_end
        self._reply = reply
        self.steps = reply.steps()

    def render(self, step: list[Event]) -> bytes:
        frames = self._opening + self._writer.events(step, self._reply)
        self._opening = b""
        return frames

    def end(self) -> bytes:
        return (self._writer.usage(self._reply.usage) if self._usage_at_end else b"") + DONE

    def fail(self, error: GatewayError) -> bytes:
        return error_frame(error)


async def collect_chat(task: ChatTask, reply: Reply) -> JsonObject:
    """Return the whole answer as CreateChatCompletionResponse."""
    choices = [_Choice(index) for index in range(task.spec.num_choices)]
    for event in echo_events(task):
        choices[event.index].add(event)
    async for events in reply.steps():
        for event in events:
            choices[event.index].add(event)
    spec = task.spec
    completion = {
        **chat_head(task, "chat.completion"),
        "choices": [choice.render(task) for choice in choices],
        "usage": usage_object(reply.usage),
    }
    if spec.return_token_ids:
        completion["prompt_token_ids"] = reply.prompt_token_ids
    return completion


def echo_events(task: ChatTask) -> list[Event]:
    """Return what every choice repeats before the answer."""
    if not task.echo:
        return []
    return [Content(index, task.echo) for index in range(task.spec.num_choices)]


def chat_head(task: ChatTask, kind: str) -> JsonObject:
    """Return what all of an answer's chunks, or the whole answer, begin with."""
    return {
        "id": f"chatcmpl-{token_hex(16)}",
        "object": kind,
        "created": int(time.time()),
        "model": task.model.id,
        "system_fingerprint": task.model.fingerprint,
    }


@dataclass(slots=True)
class _Choice:
    """What has come of one choice so far."""

    index: int
    texts: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    cause: StopCause = StopCause.STOP

    def add(self, event: Event) -> None:
        if isinstance(event, Content):
            self.texts.append(event.text)
            self.logprobs += event.logprobs
            self.token_ids += event.token_ids
        elif isinstance(event, ToolCallBegin):
            self.calls.append(Call(event.id, event.name))
        elif isinstance(event, ToolCallArguments):
            self.calls[event.position].arguments.append(event.text)
        else:
            self.cause = event.cause

    def render(self, task: ChatTask) -> JsonObject:
        text = "".join(self.texts)
        message: JsonObject = {
            "role": "assistant",
            "content": text if text or not self.calls else None,
            "refusal": None,
        }
        if self.calls:
            message |= task.calls.message(self.calls)
        choice: JsonObject = {
            "index": self.index,
            "message": message,
            "logprobs": None
            if task.num_top is None
            else logprobs_object(self.logprobs, task.num_top),
            "finish_reason": task.calls.reason(self.cause),
        }
        if task.spec.return_token_ids:
            choice["token_ids"] = self.token_ids
        return choice
