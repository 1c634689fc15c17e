"""The parts that OpenAI's answers are made of, shared by whole answers and chunks."""

from collections.abc import Iterable
from typing import Any

from gateway.errors import GatewayError
from gateway.generation import Usage
from gateway.output.events import TokenLogprob

JsonObject = dict[str, Any]


def usage_object(usage: Usage) -> JsonObject:
    """Return CompletionUsage; `cached_tokens` were read from the KV cache instead of computed."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def logprobs_object(logprobs: Iterable[TokenLogprob], num_top: int) -> JsonObject:
    """Return a chat choice's `logprobs`, each with its likeliest tokens.

    Some engines tell the chosen tokens' alone: it is the likeliest where decoding is greedy, and
    `num_top` is 0 elsewhere.
    """
    content = [
        _chosen(entry) | {"top_logprobs": [_chosen(top) for top in entry.tops or [entry] * num_top]}
        for entry in logprobs
    ]
    return {"content": content, "refusal": None}


def _chosen(entry: TokenLogprob) -> JsonObject:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": list(entry.bytes)}


def error_object(error: GatewayError) -> JsonObject:
    """Return ErrorResponse. `code` is a string, never a number."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }
