"""HTTP and gRPC, asked the same with the same seeds, answer the same."""

from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from gateway.client import CallFailed, Client
from gateway.rpc.paths import field_path
from gateway.v1.chat_pb2 import ChatCompletionRequest
from tests.conftest import Figure
from tests.e2e import dialogue, rpc_dialogue
from tests.e2e.conftest import Stack
from tests.e2e.dialogue import LIKELY, agree, ask, differing
from tests.e2e.test_exact_answers import CALLS, TEXTS, WEATHER
from tests.e2e.test_structured_answers import CONCURRENT, PROMPTS, mixed
from tests.rpc import chat_request

NUM_CHATS = 110
NUM_COMPLETIONS = 40

CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
}
WRONG: list[dict[str, Any]] = [
    {"temperature": 2.5},
    {"temperature": -1},
    {"top_p": 1.5},
    {"top_k": -2},
    {"min_p": 0.5},
    {"repetition_penalty": 0.0},
    {"presence_penalty": 3},
    {"frequency_penalty": -3},
    {"n": 0},
    {"n": 129},
    {"max_tokens": 0},
    {"max_tokens": 100_000},
    {"min_tokens": 50, "max_tokens": 5},
    {"stop": ["a", ""]},
    {"stop": ["a"] * 65},
    {"stop_token_ids": [10**9]},
    {"bad_words": [""]},
    {"logit_bias": {"5": 101}},
    {"logit_bias": {"99999999": 1}},
    {"model": "no such model"},
    {"messages": []},
    {"messages": [{"role": "tool", "content": "2"}]},
    {"messages": [{"role": "user"}]},
    {"add_generation_prompt": True, "continue_final_message": True},
    {"tools": [{"type": "function", "function": {"name": "a b"}}]},
    {"tools": [WEATHER, WEATHER]},
    {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "no"}}},
    {"tool_choice": "required"},
    {"guided_regex": "("},
    {"guided_choice": []},
    {"guided_grammar": "root ::= missing"},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a b", "schema": {"type": "object"}},
        }
    },
]


@pytest.fixture(scope="module")
def rpc(stack: Stack) -> Iterator[Client]:
    with Client(stack.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def scripted_rpc(scripted: Stack) -> Iterator[Client]:
    with Client(scripted.grpc) as client:
        yield client


def both_ways(client: Client, stack: Stack, body: dict[str, Any], number: int) -> bool:
    """Ask over HTTP, and over gRPC whole or streamed in turn; tell whether answers agree."""
    asked = rpc_dialogue.streamed if number % 2 else rpc_dialogue.whole
    return agree(dialogue.whole(stack, body), asked(client, body))


def test_generated_chats_agree(stack: Stack, rpc: Client, figure: Figure) -> None:
    bodies = [mixed(stack, 1000 + number) for number in range(NUM_CHATS)]

    # 10 kinds of requests take turns: a shift makes each of them both whole and streamed.
    again = differing(
        lambda i: both_ways(rpc, stack, bodies[i], i + i // 10), NUM_CHATS, CONCURRENT
    )

    figure(f"HTTP and gRPC agree in {NUM_CHATS} generated chats, {again} of them asked again")


def completion_body(stack: Stack, number: int) -> dict[str, Any]:
    kinds: tuple[dict[str, Any], ...] = (
        {"prompt": "Once upon a time"},
        {"prompt": ["One, two,", "A, B,"], "n": 2, "temperature": 1.0},
        {"prompt": [504, 253, 8], "logprobs": 0},
        {"prompt": [[504, 253], [8, 9, 10]], "echo": True},
        {"prompt": PROMPTS[number % len(PROMPTS)], "best_of": 3, "stop": "e "},
    )
    common = LIKELY | {"model": stack.model, "seed": number, "max_tokens": 6 + number % 7}
    return common | kinds[number % len(kinds)]


def completed_over_http(stack: Stack, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = httpx.post(f"{stack.url}/v1/completions", json=body, timeout=60).json()
    return [
        {
            "index": choice["index"],
            "text": choice["text"],
            "finish_reason": choice["finish_reason"],
            "tokens": (choice["logprobs"] or {}).get("tokens", []),
            "text_offset": (choice["logprobs"] or {}).get("text_offset", []),
            "usage": answer["usage"],
        }
        for choice in answer["choices"]
    ]


def test_generated_completions_agree(stack: Stack, rpc: Client, figure: Figure) -> None:
    bodies = [completion_body(stack, number) for number in range(NUM_COMPLETIONS)]

    def both(number: int) -> bool:
        body = bodies[number]
        return completed_over_http(stack, body) == rpc_dialogue.completed(rpc, body)

    again = differing(both, NUM_COMPLETIONS, CONCURRENT)

    figure(f"HTTP and gRPC agree in {NUM_COMPLETIONS} completions, {again} of them asked again")


@pytest.mark.parametrize("fields", WRONG, ids=[str(fields)[:60] for fields in WRONG])
def test_errors_mean_the_same(stack: Stack, rpc: Client, fields: dict[str, Any]) -> None:
    body = {**ask(stack, "Hi"), **fields}
    response = httpx.post(f"{stack.url}/v1/chat/completions", json=body, timeout=60)
    told = response.json()["error"]

    with pytest.raises(CallFailed) as failed:
        rpc.chat(chat_request(body), timeout_s=60)

    error = failed.value
    assert (error.code.name, error.reason.lower()) == (CODES[response.status_code], told["code"])
    descriptor: Any = ChatCompletionRequest.DESCRIPTOR
    assert list(error.fields) == ([field_path(told["param"], descriptor)] if told["param"] else [])


SCRIPTED = [(row[0], cast(dict[str, Any], row[1])) for row in TEXTS]
SCRIPTED += [(prompt, {"tools": [WEATHER]}) for prompt, _ in CALLS]
SCRIPTED += [("likely words", {"logprobs": True}), ("several ways", {"n": 3})]


@pytest.mark.parametrize(
    ("prompt", "fields"), SCRIPTED, ids=[f"{prompt} {list(f)}" for prompt, f in SCRIPTED]
)
def test_scripted_answers_are_the_same_to_the_letter(
    scripted: Stack, scripted_rpc: Client, prompt: str, fields: dict[str, Any]
) -> None:
    body = ask(scripted, prompt, **fields)

    over_http = dialogue.whole(scripted, body)

    assert rpc_dialogue.whole(scripted_rpc, body) == over_http
    assert rpc_dialogue.streamed(scripted_rpc, body) == over_http
