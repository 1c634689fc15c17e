"""A body of HTTP asked over gRPC, whole and streamed, and what came back in HTTP's form."""

from typing import Any

from gateway.client import Client
from gateway.v1.generation_pb2 import FinishReason, Usage
from tests.e2e.dialogue import Reply
from tests.rpc import chat_request, completion_request


def whole(client: Client, body: dict[str, Any]) -> list[Reply]:
    answer = client.chat(chat_request(body), timeout_s=60)
    return [
        Reply(
            text=choice.content,
            calls=tuple((call.name, call.arguments) for call in choice.tool_calls),
            finish_reason=_reason(choice.finish_reason),
            usage=_usage(answer.usage),
            logprobs=[_logprob(entry) for entry in choice.logprobs] or None,
        )
        for choice in answer.choices
    ]


def streamed(client: Client, body: dict[str, Any]) -> list[Reply]:
    choices = [_Growing() for _ in range(body.get("n", 1))]
    usage = Usage()
    for event in client.stream_chat(chat_request(body), timeout_s=60):
        kind = event.WhichOneof("event")
        if kind == "finished":
            usage = event.usage
        elif kind != "started":
            said = getattr(event, str(kind))
            choices[said.index].add(str(kind), said)
    return [growing.reply(usage) for growing in choices]


def completed(client: Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a completion as HTTP has them."""
    answer = client.complete(completion_request(body), timeout_s=60)
    return [
        {
            "index": choice.index,
            "text": choice.text,
            "finish_reason": _reason(choice.finish_reason),
            "tokens": [entry.token for entry in choice.logprobs],
            "text_offset": [entry.text_offset for entry in choice.logprobs],
            "usage": _usage(answer.usage),
        }
        for choice in answer.choices
    ]


class _Growing:
    def __init__(self) -> None:
        self.text = ""
        self.calls: list[list[str]] = []
        self.logprobs: list[Any] = []
        self.finish_reason = ""

    def add(self, kind: str, said: Any) -> None:
        if kind == "content":
            self.text += said.text
            self.logprobs += [_logprob(entry) for entry in said.logprobs]
        elif kind == "tool_call":
            assert said.position == len(self.calls)
            self.calls.append([said.name, ""])
        elif kind == "tool_call_arguments":
            self.calls[said.position][1] += said.arguments
        else:
            self.finish_reason = _reason(said.reason)

    def reply(self, usage: Usage) -> Reply:
        calls = tuple((name, arguments) for name, arguments in self.calls)
        return Reply(self.text, calls, self.finish_reason, _usage(usage), self.logprobs or None)


def _reason(reason: int) -> str:
    names = FinishReason.DESCRIPTOR.values_by_number
    return str(names[reason].name.removeprefix("FINISH_REASON_").lower())


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _logprob(entry: Any) -> dict[str, Any]:
    return {
        "token": entry.token,
        "logprob": entry.logprob,
        "bytes": list(entry.token_bytes),
        "top_logprobs": [
            {"token": top.token, "logprob": top.logprob, "bytes": list(top.token_bytes)}
            for top in entry.top_logprobs
        ],
    }
