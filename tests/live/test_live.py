"""A real model on a real GPU, through Triton, over HTTP and gRPC; skipped unless told where.

    LIVE_HTTP=http://127.0.0.1:8080 LIVE_GRPC=127.0.0.1:9090 LIVE_METRICS=http://.../metrics \
        pytest tests/live

It runs with pytest alone, without this project's settings, where little is installed.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

import pytest

HTTP, RPC = os.environ.get("LIVE_HTTP", ""), os.environ.get("LIVE_GRPC", "")
METRICS = os.environ.get("LIVE_METRICS", "")
pytestmark = pytest.mark.skipif(not (HTTP and RPC and METRICS), reason="no live server is named")

CAPITAL = "What is the capital of France? Answer in one sentence."
PROMPTS = [
    CAPITAL,
    "Write two sentences about the sea.",
    "Name three colours.",
    "Count from one to ten in words.",
]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 16},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}, "maxItems": 2},
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}


def chat(prompt: str, **fields: Any) -> Any:
    with post(prompt, **fields) as response:
        return json.load(response)


def post(prompt: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": prompt}]
    body = {"model": model(), "messages": messages, "temperature": 0, "max_tokens": 48, **fields}
    headers = {"Content-Type": "application/json"}
    url = f"{HTTP}/v1/chat/completions"
    return urlopen(Request(url, json.dumps(body).encode(), headers), timeout=120)


def model() -> str:
    with urlopen(f"{HTTP}/v1/models") as response:
        name: str = json.load(response)["data"][0]["id"]
    return name


def text_of(answer: Any) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


def chunks(response: Any) -> Iterator[Any]:
    for line in response:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


def streamed(prompt: str, **fields: Any) -> str:
    with post(prompt, stream=True, **fields) as response:
        return "".join(
            choice["delta"].get("content") or ""
            for chunk in chunks(response)
            for choice in chunk["choices"]
        )


def over_grpc(prompt: str, max_tokens: int = 48) -> tuple[str, str]:
    """Return an answer whole, and streamed."""
    from gateway.client import Client, conversation, user
    from gateway.v1.chat_pb2 import ChatCompletionRequest
    from gateway.v1.generation_pb2 import Limits, Sampling

    request = ChatCompletionRequest(
        model=model(),
        conversation=conversation(user(prompt)),
        sampling=Sampling(temperature=0),
        limits=Limits(max_tokens=max_tokens),
    )
    with Client(RPC) as client:
        whole = client.chat(request).choices[0].content
        events = list(client.stream_chat(request))
    return whole, "".join(event.content.text for event in events)


def num_active() -> int:
    with urlopen(METRICS) as response:
        lines = response.read().decode().splitlines()
    (line,) = (line for line in lines if 'request_type="active"' in line)
    return int(float(line.split()[-1]))


def wait_active(count: int) -> float:
    """Return after how many seconds so many requests are active."""
    started = time.monotonic()
    while num_active() != count:
        assert time.monotonic() < started + 30, f"{num_active()} requests are active"
        time.sleep(0.002)
    return time.monotonic() - started


def test_a_question_is_answered_sensibly_over_http_and_grpc() -> None:
    answer = text_of(chat(CAPITAL))
    whole, pieces = over_grpc(CAPITAL)

    print(answer)
    assert "Paris" in answer
    assert whole == pieces == answer


@pytest.mark.parametrize("prompt", PROMPTS)
def test_streamed_is_whole_for_greedy(prompt: str) -> None:
    assert streamed(prompt) == text_of(chat(prompt))


def test_greedy_answers_are_those_of_single_requests_among_32_others() -> None:
    alone = [text_of(chat(prompt)) for prompt in PROMPTS]

    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(lambda at: text_of(chat(PROMPTS[at % 4])), range(32)))

    same = sum(together[at] == alone[at % 4] for at in range(32))
    print(f"{same} of 32 are the same in a batch: bf16 rounds otherwise in other batches")
    assert same >= 16


def test_cancelling_a_stream_frees_the_engine() -> None:
    response = post("Write a very long story.", stream=True, max_tokens=3000, ignore_eos=True)
    arrivals = [time.monotonic() for _, _ in zip(chunks(response), range(40), strict=False)]
    assert num_active() == 1

    response.close()

    seconds = wait_active(0)
    step = (arrivals[-1] - arrivals[2]) / (len(arrivals) - 3)
    print(f"gone after {1000 * seconds:.1f} ms as the metrics tell; a step is {1000 * step:.1f} ms")


def test_cancelling_one_of_many_leaves_the_others() -> None:
    fields = {"stream": True, "max_tokens": 600, "ignore_eos": True}
    responses = [post(f"Write a long story about {n}.", **fields) for n in range(32)]
    for response in responses:
        next(chunks(response))

    responses[0].close()
    seconds = wait_active(31)

    print(f"one of 32 gone after {1000 * seconds:.1f} ms")
    for response in responses[1:]:
        *_, last = (chunk for chunk in chunks(response) if chunk["choices"])
        assert last["choices"][0]["finish_reason"] == "length"


def test_twenty_guided_answers_are_valid() -> None:
    def ask(seed: int) -> Any:
        fields = {"response_format": FORMAT, "max_tokens": 200, "temperature": 1.0, "seed": seed}
        return chat("Describe a person as JSON.", **fields)["choices"][0]

    with ThreadPoolExecutor(20) as pool:
        choices = list(pool.map(ask, range(20)))

    for choice in choices:
        person = json.loads(choice["message"]["content"])
        assert choice["finish_reason"] == "stop"
        assert set(person) == {"name", "age", "likes"}
        assert len(person["name"]) <= 16
        assert 0 <= person["age"] <= 99
        assert len(person["likes"]) <= 2
        assert set(person["likes"]) <= {"tea", "coffee"}


def test_a_guide_that_is_none_is_refused_and_leaves_others_alone() -> None:
    before = text_of(chat(CAPITAL))
    refused: list[int] = []

    def ask() -> None:
        try:
            chat(CAPITAL, guided_regex="((((")
        except OSError as error:
            refused.append(getattr(error, "code", 0))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()

    assert refused == [400]
    assert text_of(chat(CAPITAL)) == before


def test_seeds_repeat_and_several_answers_differ() -> None:
    fields = {"temperature": 1.0, "seed": 7, "n": 3}

    first, again = (chat("Tell me something.", **fields)["choices"] for _ in range(2))

    texts = [choice["message"]["content"] for choice in first]
    assert texts == [choice["message"]["content"] for choice in again]
    assert len(set(texts)) == 3


def test_log_probabilities_are_told() -> None:
    choice = chat(CAPITAL, logprobs=True)["choices"][0]

    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens).startswith(choice["message"]["content"])
    assert all(-50 < token["logprob"] <= 0 for token in tokens)


def test_the_likeliest_tokens_are_told() -> None:
    choice = chat(CAPITAL, logprobs=True, top_logprobs=5)["choices"][0]

    for token in choice["logprobs"]["content"]:
        tops = token["top_logprobs"]
        assert len(tops) == 5
        assert [top["logprob"] for top in tops] == sorted(
            (top["logprob"] for top in tops), reverse=True
        )
        assert tops[0]["token"] == token["token"]


def test_a_bias_and_banned_words_are_heeded() -> None:
    banned = text_of(chat(CAPITAL, bad_words=[" Paris", "Paris"]))
    with post(CAPITAL, stream=False, logit_bias={"5345": 100}, max_tokens=4) as response:
        biased = json.load(response)["choices"][0]["message"]["content"]

    assert "Paris" not in banned
    assert len(set(biased.split())) <= 1


def test_a_prompt_asked_again_is_read_from_the_cache() -> None:
    prompt = "Read this: " + "the quick brown fox jumps over the lazy dog. " * 20

    usages = [chat(prompt)["usage"] for _ in range(2)]

    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert cached[0] < 32
    assert usages[1]["prompt_tokens"] - 32 < cached[1] < usages[1]["prompt_tokens"]


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 2.0},
        {"frequency_penalty": 1.5},
        {"repetition_penalty": 1.5},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_penalty_changes_what_repeats(fields: dict[str, float]) -> None:
    prompt = "Write a poem about the sea and the sea and the sea."
    asked = {"max_tokens": 200, "ignore_eos": True}

    assert text_of(chat(prompt, **asked, **fields)) != text_of(chat(prompt, **asked))
