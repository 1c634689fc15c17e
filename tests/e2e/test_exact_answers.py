"""What a scripted engine says comes out exact: streamed and whole, through a real Triton."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.dialogue import ask, streamed, whole

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}


TEXTS = [
    ("split emoji", {}, "Family 👨‍👩‍👧‍👦, flag 🇳🇴, 日本語 and 🦊!", "stop"),
    ("wide deltas", {}, "Grüße 🦊 aus Köln, one two three four five.", "stop"),
    ("stop across tokens", {"stop": "STOP HERE"}, "The answer is 42. ", "stop"),
    (
        "stop across tokens",
        {"stop": "STOP HERE", "include_stop_str_in_output": True},
        "The answer is 42. STOP HERE",
        "stop",
    ),
    ("almost a stop", {"stop": "STOP HERE"}, "The word STOP HER is no match.", "stop"),
    ("end of message", {}, "Done.", "stop"),
    ("run on", {}, "Fine.", "stop"),
    ("goes on", {"max_tokens": 3}, "on and on", "length"),
    ("end of message", {"max_tokens": 2}, "Done.", "length"),
    ("end of message", {"max_tokens": 3}, "Done.", "stop"),
    ("only braces", {"tools": [WEATHER]}, '{"a": 1} is JSON, not a call.', "stop"),
    (
        "bare call",
        {},
        '{"name": "get_weather", "parameters": {"city": "Oslo {}\\"", "days": 1}}',
        "stop",
    ),
]


@pytest.mark.parametrize(
    ("prompt", "fields", "text", "finish_reason"),
    TEXTS,
    ids=[f"{prompt} {fields}" for prompt, fields, *_ in TEXTS],
)
def test_text_is_exact(
    scripted: Stack, prompt: str, fields: dict[str, Any], text: str, finish_reason: str
) -> None:
    body = ask(scripted, prompt, **fields)

    [answer] = whole(scripted, body)

    assert (answer.text, answer.finish_reason, answer.calls) == (text, finish_reason, ())
    assert streamed(scripted, body) == [answer]


CALLS = [
    ("python tag", [{"city": "Zürich", "days": 3}]),
    ("bare call", [{"city": 'Oslo {}"', "days": 1}]),
    ("two calls", [{"city": "A"}, {"city": "B"}]),
    ("builtin call", [{"city": "Rome", "days": 2}]),
    ("function tag", [{"city": "Lima"}]),
]


@pytest.mark.parametrize(("prompt", "arguments"), CALLS, ids=[name for name, _ in CALLS])
def test_tool_calls_are_exact(scripted: Stack, prompt: str, arguments: list[Any]) -> None:
    body = ask(scripted, prompt, tools=[WEATHER])

    [answer] = whole(scripted, body)

    assert [name for name, _ in answer.calls] == ["get_weather"] * len(arguments)
    assert [json.loads(text) for _, text in answer.calls] == arguments
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert streamed(scripted, body) == [answer]


def test_one_call_is_kept_where_calls_may_not_be_parallel(scripted: Stack) -> None:
    body = ask(scripted, "two calls", tools=[WEATHER], parallel_tool_calls=False)

    [answer] = whole(scripted, body)

    assert answer.calls == (("get_weather", '{"city": "A"}'),)
    assert streamed(scripted, body) == [answer]


def test_log_probabilities_are_told_token_by_token(scripted: Stack) -> None:
    body = ask(scripted, "likely words", logprobs=True)

    [answer] = whole(scripted, body)

    tokens = [(entry["token"], entry["logprob"]) for entry in answer.logprobs]
    assert tokens == [("yes", -0.25), (",", -1.5), (" it", -0.25), (" is", -1.5)]
    assert streamed(scripted, body) == [answer]


def test_choices_differ_and_agree_streamed(scripted: Stack) -> None:
    body = ask(scripted, "several ways", n=3)

    answers = whole(scripted, body)

    assert [answer.text for answer in answers] == ["Hello.", "Hi 🦊!", "Good day."]
    assert streamed(scripted, body) == answers
