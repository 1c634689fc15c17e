"""The gateway in front of our model on TensorRT-LLM's LLM API, which a stand-in plays."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.client import Client
from tests.e2e import rpc_dialogue
from tests.e2e.conftest import Stack
from tests.e2e.dialogue import Reply, ask, streamed, whole
from tests.e2e.test_exact_answers import CALLS, TEXTS, WEATHER

# Another engine behind what is tested whole elsewhere: a few of each kind.
SOME_TEXTS, SOME_CALLS = TEXTS[::3], CALLS[::2]


@pytest.fixture(scope="module")
def stack(llm_api: Stack) -> Stack:
    return llm_api


@pytest.fixture(scope="module")
def rpc(stack: Stack) -> Iterator[Client]:
    with Client(stack.grpc) as client:
        yield client


def every_way(stack: Stack, rpc: Client, body: dict[str, Any]) -> list[Reply]:
    """The choices, which are the same whole and streamed, over HTTP and over gRPC."""
    answers = whole(stack, body)
    assert streamed(stack, body) == answers
    assert rpc_dialogue.whole(rpc, body) == answers
    assert rpc_dialogue.streamed(rpc, body) == answers
    return answers


@pytest.mark.parametrize(
    ("prompt", "fields", "text", "finish_reason"),
    SOME_TEXTS,
    ids=[f"{prompt} {fields}" for prompt, fields, *_ in SOME_TEXTS],
)
def test_text_is_exact(
    stack: Stack, rpc: Client, prompt: str, fields: dict[str, Any], text: str, finish_reason: str
) -> None:
    [answer] = every_way(stack, rpc, ask(stack, prompt, **fields))

    assert (answer.text, answer.finish_reason, answer.calls) == (text, finish_reason, ())


@pytest.mark.parametrize(("prompt", "arguments"), SOME_CALLS, ids=[name for name, _ in SOME_CALLS])
def test_tool_calls_are_exact(stack: Stack, rpc: Client, prompt: str, arguments: list[Any]) -> None:
    [answer] = every_way(stack, rpc, ask(stack, prompt, tools=[WEATHER]))

    assert [json.loads(text) for _, text in answer.calls] == arguments


def test_choices_differ(stack: Stack, rpc: Client) -> None:
    answers = every_way(stack, rpc, ask(stack, "several ways", n=3))

    assert [answer.text for answer in answers] == ["Hello.", "Hi 🦊!", "Good day."]


def test_the_likeliest_tokens_are_told_of_every_choice(stack: Stack, rpc: Client) -> None:
    body = ask(stack, "several ways", n=3, logprobs=True, top_logprobs=5)

    answers = every_way(stack, rpc, body)

    for answer in answers:
        assert "".join(entry["token"] for entry in answer.logprobs).startswith(answer.text[:2])
        for entry in answer.logprobs:
            tops = entry["top_logprobs"]
            assert len(tops) == 5
            assert (tops[0]["token"], tops[0]["logprob"]) == (entry["token"], entry["logprob"])
            assert [top["logprob"] for top in tops] == sorted(
                (top["logprob"] for top in tops), reverse=True
            )


def test_a_completion_tells_the_likeliest_too(stack: Stack) -> None:
    body = {"model": stack.model, "prompt": "several ways", "logprobs": 3, "max_tokens": 4}

    answer = httpx.post(f"{stack.url}/v1/completions", json=body).json()

    told = answer["choices"][0]["logprobs"]
    assert [len(tops) for tops in told["top_logprobs"]] == [3] * len(told["tokens"])


def test_an_echoed_prompt_is_told_of(stack: Stack) -> None:
    body = {"model": stack.model, "prompt": "several ways", "logprobs": 2, "max_tokens": 1}

    answer = httpx.post(f"{stack.url}/v1/completions", json={**body, "echo": True}).json()

    [choice] = answer["choices"]
    told = choice["logprobs"]
    num_prompt = answer["usage"]["prompt_tokens"]
    assert len(told["tokens"]) == num_prompt + 1
    assert (told["token_logprobs"][0], told["top_logprobs"][0]) == (0, {})
    assert {len(tops) for tops in told["top_logprobs"][1:]} == {2}
    shown = [token for token in told["tokens"] if not token.startswith("<|")]
    assert "".join(shown) == choice["text"]


def test_a_form_is_asked_of_the_engine(stack: Stack) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}

    [answer] = whole(stack, ask(stack, "5 degrees in Oslo", response_format=form))

    assert json.loads(answer.text) == {"city": "Oslo", "degrees": 5}


def test_an_adapter_answers_under_its_own_name(stack: Stack, rpc: Client) -> None:
    body = {**ask(stack, "several ways"), "model": "poet"}

    [answer] = every_way(stack, rpc, body)

    assert answer.text == "Hi 🦊!"


def test_a_reader_that_leaves_frees_its_place(stack: Stack) -> None:
    body = {**ask(stack, "goes on"), "stream": True}
    scheduled = {"request_type": "scheduled"}

    with httpx.stream("POST", f"{stack.url}/v1/chat/completions", json=body) as response:
        next(response.iter_lines())

    while stack.metric("nv_trt_llm_request_metrics", **scheduled):
        time.sleep(0.02)
