"""ChatService: the same tasks and answers as HTTP's chat completions, as messages."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.models import Models
from gateway.openai.chat import chat_head, chat_reply, collect_chat, echo_events
from gateway.openai.chat_task import ChatTask, parse_chat
from gateway.reply import Reply
from gateway.rpc.answers import chat_completion, chat_event, usage_message
from gateway.rpc.bodies import chat_body
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
    """Chats, whole and streamed."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self._strict = settings.strict
        self._models = models

    async def CreateChatCompletion(
        self, request: ChatCompletionRequest, context: Any
    ) -> ChatCompletion:
        async with exchange("CreateChatCompletion", request, context):
            task = self._task(request, is_stream=False)
            return chat_completion(await collect_chat(task, await chat_reply(task)))

    async def StreamChatCompletion(self, request: ChatCompletionRequest, context: Any) -> None:
        async with exchange("StreamChatCompletion", request, context) as request_id:
            task = self._task(request, is_stream=True)
            reply = await chat_reply(task)
            async with aclosing(chat_events(task, reply)) as events:
                await open_stream(context, request_id, await anext(events))
                async for event in events:
                    await context.write(event)

    def _task(self, request: ChatCompletionRequest, is_stream: bool) -> ChatTask:
        model = self._models.find(request.model)
        return parse_chat(chat_body(request, is_stream), model, self._strict)


async def chat_events(task: ChatTask, reply: Reply) -> AsyncGenerator[ChatCompletionEvent, None]:
    """Yield a stream's messages; the first comes with the engine's first item, not before it.

    So a call that the engine refuses ends without headers, and a client's retry policy applies.
    """
    opening = [_started(task, reply), *map(chat_event, echo_events(task))]
    async with aclosing(reply.steps()) as steps:
        async for events in steps:
            for message in [*opening, *map(chat_event, events)]:
                if task.stream_usage.always:
                    message.usage.CopyFrom(usage_message(reply.usage))
                yield message
            opening = []
    yield ChatCompletionEvent(finished=ChatFinished(), usage=usage_message(reply.usage))


def _started(task: ChatTask, reply: Reply) -> ChatCompletionEvent:
    head = chat_head(task, "chat.completion.chunk")
    started = ChatStarted(
        id=head["id"],
        create_time=Timestamp(seconds=head["created"]),
        model=head["model"],
        system_fingerprint=head["system_fingerprint"],
        prompt_token_ids=reply.generation.prompt.token_ids if task.spec.return_token_ids else (),
    )
    return ChatCompletionEvent(started=started)
