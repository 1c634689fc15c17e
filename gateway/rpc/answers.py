"""Answers as messages: HTTP's whole answers, and the events of an answer that grows."""

from collections.abc import Callable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.generation import Usage
from gateway.models import Model
from gateway.output.events import (
    ChoiceEnd,
    Content,
    Event,
    StopCause,
    TokenLogprob,
    ToolCallArguments,
    ToolCallBegin,
)
from gateway.v1 import chat_pb2, completion_pb2, conversation_pb2, generation_pb2, model_pb2

Json = dict[str, Any]

REASONS = {
    StopCause.STOP: generation_pb2.FINISH_REASON_STOP,
    StopCause.LENGTH: generation_pb2.FINISH_REASON_LENGTH,
    StopCause.TOOL_CALLS: generation_pb2.FINISH_REASON_TOOL_CALLS,
}


def usage_message(usage: Usage) -> generation_pb2.Usage:
    """Return the tokens read and written."""
    return generation_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        cached_tokens=usage.cached_tokens,
    )


def model_message(model: Model) -> model_pb2.Model:
    """Return what callers learn of a model."""
    return model_pb2.Model(
        id=model.id,
        create_time=Timestamp(seconds=model.created),
        owned_by=model.owned_by,
        max_model_len=model.max_model_len,
    )


def chat_event(event: Event) -> chat_pb2.ChatCompletionEvent:
    """Return one event of a chat's answer."""
    return EVENTS[type(event)](event)


def _content(event: Content) -> chat_pb2.ChatCompletionEvent:
    # One message made, and its fields set: a third of what it costs to hand them to constructors.
    message = chat_pb2.ChatCompletionEvent()
    delta = message.content
    delta.text = event.text
    if event.index:
        delta.index = event.index
    if event.logprobs:
        delta.logprobs.extend(map(_logprob, event.logprobs))
    if event.token_ids:
        delta.token_ids.extend(event.token_ids)
    return message


def _logprob(entry: TokenLogprob) -> chat_pb2.TokenLogprob:
    tops = [
        chat_pb2.TopLogprob(token=top.token, token_bytes=top.bytes, logprob=top.logprob)
        for top in entry.tops
    ]
    return chat_pb2.TokenLogprob(
        token=entry.token, token_bytes=entry.bytes, logprob=entry.logprob, top_logprobs=tops
    )


def _tool_call(event: ToolCallBegin) -> chat_pb2.ChatCompletionEvent:
    call = chat_pb2.ToolCallStarted(
        index=event.index, position=event.position, id=event.id, name=event.name
    )
    return chat_pb2.ChatCompletionEvent(tool_call=call)


def _arguments(event: ToolCallArguments) -> chat_pb2.ChatCompletionEvent:
    delta = chat_pb2.ToolCallDelta(index=event.index, position=event.position, arguments=event.text)
    return chat_pb2.ChatCompletionEvent(tool_call_arguments=delta)


def _choice_finished(event: ChoiceEnd) -> chat_pb2.ChatCompletionEvent:
    finished = chat_pb2.ChoiceFinished(index=event.index, reason=REASONS[event.cause])
    return chat_pb2.ChatCompletionEvent(choice_finished=finished)


EVENTS: dict[type[Event], Callable[[Any], chat_pb2.ChatCompletionEvent]] = {
    Content: _content,
    ToolCallBegin: _tool_call,
    ToolCallArguments: _arguments,
    ChoiceEnd: _choice_finished,
}


def chat_completion(answer: Json) -> chat_pb2.ChatCompletion:
    """Return HTTP's whole answer to a chat as a message."""
    return chat_pb2.ChatCompletion(
        **_head(answer),
        choices=[_chat_choice(choice) for choice in answer["choices"]],
        usage=_usage(answer["usage"]),
        prompt_token_ids=answer.get("prompt_token_ids", ()),
    )


def _chat_choice(choice: Json) -> chat_pb2.ChatChoice:
    message, logprobs = choice["message"], choice["logprobs"]
    return chat_pb2.ChatChoice(
        index=choice["index"],
        content=message["content"] or "",
        tool_calls=[
            conversation_pb2.ToolCall(id=call["id"], **call["function"])
            for call in message.get("tool_calls", ())
        ],
        finish_reason=REASONS[StopCause(choice["finish_reason"])],
        logprobs=[
            chat_pb2.TokenLogprob(
                **_told(entry),
                top_logprobs=[chat_pb2.TopLogprob(**_told(top)) for top in entry["top_logprobs"]],
            )
            for entry in (logprobs["content"] if logprobs else ())
        ],
        token_ids=choice.get("token_ids", ()),
    )


def _told(entry: Json) -> Json:
    return {
        "token": entry["token"],
        "token_bytes": bytes(entry["bytes"]),
        "logprob": entry["logprob"],
    }


def completion(answer: Json) -> completion_pb2.Completion:
    """Return HTTP's whole answer to a completion as a message."""
    return completion_pb2.Completion(
        **_head(answer),
        choices=[completion_choice(choice) for choice in answer["choices"]],
        usage=_usage(answer["usage"]),
    )


COLUMNS = ("tokens", "token_logprobs", "text_offset", "top_logprobs")


def completion_choice(choice: Json) -> completion_pb2.CompletionChoice:
    """Return HTTP's choice of a completion, whole or what it gained, as a message."""
    reason = choice["finish_reason"]
    columns = [(choice["logprobs"] or {}).get(name, ()) for name in COLUMNS]
    return completion_pb2.CompletionChoice(
        index=choice["index"],
        text=choice["text"],
        finish_reason=REASONS[StopCause(reason)] if reason else None,
        logprobs=[
            completion_pb2.CompletionLogprob(
                token=token, logprob=logprob, text_offset=offset, top_logprobs=tops
            )
            for token, logprob, offset, tops in zip(*columns, strict=True)
        ],
        token_ids=choice.get("token_ids", ()),
    )


def _head(answer: Json) -> Json:
    return {
        "id": answer["id"],
        "create_time": Timestamp(seconds=answer["created"]),
        "model": answer["model"],
        "system_fingerprint": answer["system_fingerprint"],
    }


def _usage(usage: Json) -> generation_pb2.Usage:
    return generation_pb2.Usage(
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
        cached_tokens=usage["prompt_tokens_details"]["cached_tokens"],
    )
