"""A real model held to a form: every answer valid, and streamed what it is whole."""

import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jsonschema
import pytest

from tests.conftest import Figure
from tests.e2e.conftest import Stack
from tests.e2e.dialogue import LIKELY, agree, ask, differing, streamed, whole

CONCURRENT = 8
TEXT = {"type": "string", "maxLength": 12}
NUMBER = {"type": "integer", "minimum": 0, "maximum": 99}
FIELDS: dict[str, Any] = {
    "name": TEXT,
    "age": NUMBER,
    "mood": {"enum": ["calm", "glad", "sad"]},
    "is_new": {"type": "boolean"},
    "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    "home": {
        "type": "object",
        "properties": {"city": TEXT, "floor": NUMBER},
        "required": ["city"],
        "additionalProperties": False,
    },
    "either": {"anyOf": [NUMBER, {"type": "null"}]},
}
PROMPTS = ("Describe a sailor as JSON.", "Make up a city.", "Who are you?", "x", "Tell me a joke.")


def schema_of(names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: FIELDS[name] for name in names},
        "required": list(names),
        "additionalProperties": False,
    }


SCHEMAS = [schema_of(names) for size in (1, 2, 3) for names in itertools.combinations(FIELDS, size)]


def num_tokens(stack: Stack, text: str) -> int:
    response = httpx.post(f"{stack.url}/v1/tokenize", json={"model": stack.model, "prompt": text})
    return int(response.json()["count"])


def test_every_answer_follows_its_schema_and_is_compact(stack: Stack, figure: Figure) -> None:
    schemas = SCHEMAS[:50]
    bodies = [
        ask(
            stack,
            PROMPTS[i % len(PROMPTS)],
            max_tokens=200,
            temperature=1,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            },
        )
        for i, schema in enumerate(schemas)
    ]

    with ThreadPoolExecutor(CONCURRENT) as pool:
        answers = list(pool.map(lambda b: whole(stack, b)[0], bodies))

    used = needed = 0
    for answer, schema in zip(answers, schemas, strict=True):
        value = json.loads(answer.text)
        jsonschema.validate(value, schema)
        compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        assert len(answer.text) <= len(json.dumps(value, ensure_ascii=False))
        used += answer.usage["completion_tokens"]
        needed += num_tokens(stack, compact)
    assert used <= 2 * needed
    figure(
        f"json_schema: all {len(schemas)} answers of a real model at temperature 1 are valid, "
        f"with {used / needed:.2f} of the tokens of compact JSON"
    )


def test_every_required_call_is_valid(stack: Stack, figure: Figure) -> None:
    schemas = SCHEMAS[5:55]
    bodies = [
        ask(
            stack,
            PROMPTS[i % len(PROMPTS)],
            max_tokens=250,
            temperature=1,
            tools=[tool("first", schema), tool("second", SCHEMAS[i])],
            tool_choice="required",
            parallel_tool_calls=False,
        )
        for i, schema in enumerate(schemas)
    ]

    with ThreadPoolExecutor(CONCURRENT) as pool:
        answers = list(pool.map(lambda b: whole(stack, b)[0], bodies))

    for i, answer in enumerate(answers):
        [(name, arguments)] = answer.calls
        jsonschema.validate(
            json.loads(arguments), {"first": schemas[i], "second": SCHEMAS[i]}[name]
        )
        assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    figure(
        f"tool_choice required: {len(answers)} of {len(schemas)} calls of a real model are valid"
    )


def tool(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def test_a_named_call_is_made_and_ends_with_stop(stack: Stack) -> None:
    body = ask(
        stack,
        "Hello",
        max_tokens=100,
        tools=[tool("first", SCHEMAS[0]), tool("second", SCHEMAS[1])],
        tool_choice={"type": "function", "function": {"name": "second"}},
    )

    [answer] = whole(stack, body)

    assert [name for name, _ in answer.calls] == ["second"]
    assert answer.finish_reason == "stop"
    assert streamed(stack, body) == [answer]


GUIDED = [
    ({"guided_regex": r"[A-Z]{3}-\d{4}"}, r"[A-Z]{3}-\d{4}"),
    ({"guided_choice": ["left", "right (maybe)"]}, r"left|right \(maybe\)"),
    ({"guided_grammar": 'root ::= "yes" | "no"'}, r"yes|no"),
    ({"structured_outputs": {"regex": "a{2,4}"}}, r"a{2,4}"),
]


@pytest.mark.parametrize(("fields", "pattern"), GUIDED, ids=[str(fields) for fields, _ in GUIDED])
def test_guides_of_other_kinds_hold(stack: Stack, fields: dict[str, Any], pattern: str) -> None:
    [answer] = whole(stack, ask(stack, "Go", max_tokens=40, **fields))

    assert re.fullmatch(pattern, answer.text)


def test_a_json_object_is_json(stack: Stack) -> None:
    fields = {"response_format": {"type": "json_object"}, "max_tokens": 120, "temperature": 0}

    [answer] = whole(stack, ask(stack, "Answer with an empty JSON object.", **fields))

    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.text), dict)
    assert answer.text.startswith("{")


@pytest.mark.parametrize(
    "fields",
    [
        {"guided_json": {"type": "nonsense"}},
        {"guided_grammar": "root ::= missing"},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "nonsense"}},
            }
        },
    ],
    ids=["guided_json", "guided_grammar", "response_format"],
)
def test_a_guide_that_cannot_be_enforced_is_a_400_with_the_reason(
    stack: Stack, fields: dict[str, Any]
) -> None:
    response = httpx.post(f"{stack.url}/v1/chat/completions", json=ask(stack, "Go", **fields))

    assert response.status_code == 400
    assert "cannot be enforced" in response.json()["error"]["message"]
    assert response.json()["error"]["param"].startswith(next(iter(fields)))


def test_streamed_and_whole_agree_on_mixed_requests(stack: Stack, figure: Figure) -> None:
    bodies = [mixed(stack, number) for number in range(200)]

    def both(i: int) -> bool:
        return agree(whole(stack, bodies[i]), streamed(stack, bodies[i]))

    again = differing(both, len(bodies), CONCURRENT)

    figure(f"streamed and whole agree in {len(bodies)} mixed requests, {again} asked again")


def mixed(stack: Stack, number: int) -> dict[str, Any]:
    """Return one of many kinds of requests, each with a seed."""
    fields: dict[str, Any] = LIKELY | {"seed": number, "max_tokens": 8 + number % 13}
    if number % 2:
        fields |= {"temperature": 0.5 + number % 3 / 2, "top_p": 0.9}
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {"logprobs": True},
        {"stop": [" the", "e ", "\n"]},
        {"n": 2, "temperature": 1.0},
        {"tools": [tool("first", SCHEMAS[number % 7])]},
        {
            "tools": [tool("first", SCHEMAS[number % 7])],
            "tool_choice": "required",
            "max_tokens": 60,
        },
        {"response_format": {"type": "json_object"}},
        {"frequency_penalty": 1.0, "presence_penalty": -0.5, "repetition_penalty": 1.1},
        {"stop": "a", "logprobs": True, "include_stop_str_in_output": True},
        {"min_tokens": 5, "skip_special_tokens": False},
    )
    return ask(stack, PROMPTS[number % len(PROMPTS)], **(fields | kinds[number % len(kinds)]))
