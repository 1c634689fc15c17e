"""ChatService: the same tasks and answers as HTTP's chat completions, as messages."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.models import Models
from gateway.openai.chat import chat_head, chat_reply, collect_chat, echo_events
from gateway.openai.chat_task import ChatTask, parse_chat
from gateway.output.events import Event
from gateway.reception import Reception
from gateway.reply import Reply
from gateway.rpc.answers import chat_completion, chat_event, usage_message
from gateway.rpc.bodies import chat_body, read_message
from gateway.rpc.exchange import exchange, open_stream
from gateway.settings import Settings
from gateway.v1.chat_pb2 import (
    ChatCompletion,
    ChatCompletionEvent,
    ChatCompletionRequest,
    ChatFinished,
    ChatStarted,
)
from gateway.v1.chat_pb2_grpc import ChatServiceServicer


class ChatService(ChatServiceServicer):
    """Chats, whole and streamed. Requests come as bytes, and are looked at before parsed."""

    def __init__(self, settings: Settings, models: Models, reception: Reception) -> None:
        self._strict = settings.strict
        self._models = models
        self._reception = reception

    async def CreateChatCompletion(self, raw: bytes, context: Any) -> ChatCompletion:
        async with exchange(
            "CreateChatCompletion", ChatCompletionRequest, context, self._reception
        ):
            task = await self._task(raw, is_stream=False)
            return chat_completion(await collect_chat(task, await chat_reply(task)))

    async def StreamChatCompletion(self, raw: bytes, context: Any) -> None:
        async with exchange(
            "StreamChatCompletion", ChatCompletionRequest, context, self._reception
        ) as request_id:
            task = await self._task(raw, is_stream=True)
            reply = await chat_reply(task)
            async with aclosing(reply.steps()) as steps:
                # With the engine's first item, not before: a call that it refuses ends without
                # headers, and a client's retry policy applies.
                first = await anext(steps)
                await open_stream(context, request_id)
                for message in opening(task, reply, first):
                    await context.write(message)
                render = renderer(task, reply)
                async for events in steps:
                    for event in events:
                        await context.write(render(event))
            await context.write(finished(reply))

    async def _task(self, raw: bytes, is_stream: bool) -> ChatTask:
        def understand(request: ChatCompletionRequest) -> ChatTask:
            model = self._models.find(request.model)
            return parse_chat(chat_body(request, is_stream), model, self._strict)

        return await read_message(raw, ChatCompletionRequest, understand)


def renderer(task: ChatTask, reply: Reply) -> Callable[[Event], ChatCompletionEvent]:
    """Return what makes a message of an event, with the usage so far where that is asked for."""
    if not task.stream_usage.always:
        return chat_event
    return lambda event: _with_usage(chat_event(event), reply)


def opening(task: ChatTask, reply: Reply, first: Sequence[Event]) -> list[ChatCompletionEvent]:
    """Return the messages of an answer up to the engine's first item."""
    started = _started(task, reply)
    if task.stream_usage.always:
        _with_usage(started, reply)
    return [started, *map(renderer(task, reply), (*echo_events(task), *first))]


def finished(reply: Reply) -> ChatCompletionEvent:
    """Return the last message of an answer."""
    return ChatCompletionEvent(finished=ChatFinished(), usage=usage_message(reply.usage))


def _with_usage(message: ChatCompletionEvent, reply: Reply) -> ChatCompletionEvent:
    message.usage.CopyFrom(usage_message(reply.usage))
    return message


def _started(task: ChatTask, reply: Reply) -> ChatCompletionEvent:
    head = chat_head(task, "chat.completion.chunk")
    started = ChatStarted(
        id=head["id"],
        create_time=Timestamp(seconds=head["created"]),
        model=head["model"],
        system_fingerprint=head["system_fingerprint"],
        prompt_token_ids=reply.prompt_token_ids,
    )
    return ChatCompletionEvent(started=started)
