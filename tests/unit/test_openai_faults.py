"""What a caller is told of a body that does not fit: the form that was meant, and what it lacks."""

import json
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from tests.fakes import FakeEngine, stop
from tests.wire import client

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
PROMPT = {"model": "tiny", "prompt": "Hi"}


async def told(path: str, body: dict[str, Any]) -> tuple[str, str]:
    """Return the parameter and the text of a refusal."""
    async with client(FakeEngine([stop()])) as http:
        response = await http.post(path, content=json.dumps(body))
    assert response.status_code == InvalidRequest.status
    error = response.json()["error"]
    return error["param"], error["message"]


@pytest.mark.parametrize(
    ("fields", "param", "text"),
    [
        ({"stop": ["a"] * 65}, "stop", "at most 64 items"),
        ({"stop": 5}, "stop", "a string or a list"),
        ({"stop": ["a", 5]}, "stop[1]", "a string"),
        ({"n": 1.5}, "n", "a valid integer, got a number with a fractional part"),
        ({"n": "1"}, "n", "an integer"),
        ({"n": True}, "n", "an integer"),
        ({"guided_json": 5}, "guided_json", "an object or a string"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "a string or a"),
        (
            {"messages": [{"role": "user", "content": [5]}]},
            "messages[0].content[0]",
            "an object or a string",
        ),
        (
            {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
            "messages[0].content[0].type",
            "is required",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "{'type': 'function', 'function"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]", "only 'function' is"),
        ({"use_beam_search": True}, "use_beam_search", "'use_beam_search' is not supported"),
        ({"regex": "a+"}, "regex", "'guided_regex'"),
        ({"top_logprobs": 0}, "top_logprobs", "needs 'logprobs': true"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
async def test_a_chat_is_refused_with_a_text_about_what_was_meant(
    fields: dict[str, Any], param: str, text: str
) -> None:
    where, message = await told("/v1/chat/completions", HELLO | fields)

    assert where == param
    assert text in message


@pytest.mark.parametrize(
    ("prompt", "param", "text"),
    [
        (5, "prompt", "a string or a list"),
        ([1.5], "prompt[0]", "fractional"),
        ([-1], "prompt[0]", "greater than or equal to 0"),
        ([[1, -1]], "prompt[0][1]", "greater than or equal to 0"),
        (["a", 5], "prompt[1]", "a string"),
        ([{}], "prompt[0]", "a string or an integer or a list"),
    ],
    ids=json.dumps,
)
async def test_a_prompt_is_refused_with_a_text_about_what_was_meant(
    prompt: Any, param: str, text: str
) -> None:
    where, message = await told("/v1/completions", PROMPT | {"prompt": prompt})

    assert where == param
    assert text in message
