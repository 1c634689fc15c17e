"""CompletionService: the same tasks and answers as HTTP's text completions, as messages."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.models import Models
from gateway.openai.completion_task import CompletionTask, parse_completion
from gateway.openai.completions import (
    candidates_of,
    collect_completion,
    completion_head,
    completion_replies,
    total_usage,
)
from gateway.openai.merge import merged
from gateway.reception import Reception
from gateway.reply import Reply
from gateway.rpc.answers import completion, completion_choice, usage_message
from gateway.rpc.bodies import completion_body, read_message
from gateway.rpc.exchange import exchange, open_stream
from gateway.settings import Settings
from gateway.v1.completion_pb2 import (
    Completion,
    CompletionEvent,
    CompletionFinished,
    CompletionRequest,
    CompletionStarted,
)
from gateway.v1.completion_pb2_grpc import CompletionServiceServicer


class CompletionService(CompletionServiceServicer):
    """Text completions, whole and streamed. Requests come as bytes, as chats do."""

    def __init__(self, settings: Settings, models: Models, reception: Reception) -> None:
        self._strict = settings.strict
        self._models = models
        self._reception = reception

    async def CreateCompletion(self, raw: bytes, context: Any) -> Completion:
        async with exchange("CreateCompletion", CompletionRequest, context, self._reception):
            task = await self._task(raw, is_stream=False)
            return completion(await collect_completion(task, await completion_replies(task)))

    async def StreamCompletion(self, raw: bytes, context: Any) -> None:
        async with exchange(
            "StreamCompletion", CompletionRequest, context, self._reception
        ) as request_id:
            task = await self._task(raw, is_stream=True)
            replies = await completion_replies(task)
            async with aclosing(completion_events(task, replies)) as events:
                first = await anext(events)
                await open_stream(context, request_id)
                await context.write(first)
                async for event in events:
                    await context.write(event)

    async def _task(self, raw: bytes, is_stream: bool) -> CompletionTask:
        def understand(request: CompletionRequest) -> CompletionTask:
            model = self._models.find(request.model)
            return parse_completion(completion_body(request, is_stream), model, self._strict)

        return await read_message(raw, CompletionRequest, understand)


async def completion_events(
    task: CompletionTask, replies: Sequence[Reply]
) -> AsyncGenerator[CompletionEvent, None]:
    """Yield a stream's messages; the first comes with the engine's first item, not before it."""
    opening = [_started(task)]
    candidates = candidates_of(task, replies)
    async with aclosing(merged([reply.steps() for reply in replies])) as steps:
        async for number, events in steps:
            choices = candidates[number].changes(events)
            messages = [CompletionEvent(choice=completion_choice(choice)) for choice in choices]
            for message in [*opening, *messages]:
                if task.stream_usage.always:
                    message.usage.CopyFrom(usage_message(total_usage(replies)))
                yield message
            opening = []
    usage = usage_message(total_usage(replies))
    yield CompletionEvent(finished=CompletionFinished(), usage=usage)


def _started(task: CompletionTask) -> CompletionEvent:
    head = completion_head(task)
    started = CompletionStarted(
        id=head["id"],
        create_time=Timestamp(seconds=head["created"]),
        model=head["model"],
        system_fingerprint=head["system_fingerprint"],
    )
    return CompletionEvent(started=started)
