"""Hundreds of answers of every kind, each held to OpenAI's schema and to its SDK's types."""

import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import pytest

from gateway import errors
from gateway.errors import GatewayError
from gateway.generation import Delta, Finished, FinishReason, Item
from tests import openai_spec
from tests.fakes import FakeEngine, stop, text
from tests.parameter_cases import CHAT, COMPLETION, TOOLS
from tests.wire import client, departures, events, is_stream

CHAT_PATH, COMPLETION_PATH = "/v1/chat/completions", "/v1/completions"
BASE: dict[str, Any] = {
    CHAT_PATH: {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]},
    COMPLETION_PATH: {"model": "tiny", "prompt": "Hi"},
}
FAILURES = [
    error("It failed.", param="x")
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, GatewayError)
]
WORDS = ["Hello", " wörld", " 😊", '"quoted"', "\n", "\\", "END", "日本", "\x7f", "<b>"]
CALL = '{"name": "weather", "parameters": {"city": "Paris"}}'
Script = list[Item | GatewayError]
Asked = tuple[str, dict[str, Any], Script]


def tabled() -> Iterator[Asked]:
    for path, cases in ((CHAT_PATH, CHAT), (COMPLETION_PATH, COMPLETION)):
        for case in cases:
            yield path, {**case.given, case.param: case.value}, list(case.script)


def failing() -> Iterator[Asked]:
    """Yield requests that fail at once, and in the middle."""
    for path in BASE:
        for failure in FAILURES:
            yield path, {}, [failure]
            yield path, {}, [text("Hel"), failure]


def drawn(random: Random) -> Iterator[Asked]:
    """Yield requests whose answers are made of chance."""
    while True:
        n = random.randint(1, 3)
        path = random.choice(list(BASE))
        script = [delta(random, i) for i in range(n) for _ in range(random.randint(0, 4))]
        reasons = tuple(random.choice(list(FinishReason)) for _ in range(n))
        options: dict[str, Any] = {"n": n, "return_token_ids": random.random() < 0.3}
        options |= random.choice([{}, {"stop": "END"}, {"include_stop_str_in_output": True}])
        options |= random.choice([{}, {"logprobs": True if path == CHAT_PATH else 0}])
        options |= random.choice([{}, TOOLS]) if path == CHAT_PATH else {}
        yield path, options, [*script, Finished(reasons, random.randint(0, 9))]


def delta(random: Random, index: int) -> Delta:
    content = random.choice([*WORDS, CALL]).encode()
    return Delta(index, list(content), [-random.random() for _ in content])


async def answers(asked: Asked) -> list[httpx.Response]:
    """Return the answers to a request, whole and streamed."""
    path, fields, script = asked
    usage = {"include_usage": True, "continuous_usage_stats": len(script) % 2 == 0}
    whole = {**BASE[path], **fields}
    stream = {"stream_options": usage, **whole, "stream": True}
    async with client(FakeEngine(script)) as http:
        return [await http.post(path, content=json.dumps(body)) for body in (whole, stream)]


async def elsewhere() -> list[httpx.Response]:
    """Return answers of the other paths, and what goes wrong before any path."""
    async with client(FakeEngine([stop()])) as http:
        return [
            await http.get("/v1/models"),
            await http.get("/v1/models/tiny"),
            await http.get("/v1/models/none"),
            await http.get("/v1/none"),
            await http.get(CHAT_PATH),
            await http.post(CHAT_PATH, content=b"{"),
            await http.post(CHAT_PATH, content=b"[]"),
            await http.post(CHAT_PATH, content=b"\xff"),
            await http.post(CHAT_PATH, content=b" " * (16 * 2**20 + 1)),
        ]


def essence(response: httpx.Response) -> str:
    """Return what makes an answer different from others: not its id, not its time."""
    return re.sub(r'"(id|created|system_fingerprint)":("[^"]*"|\d+)', "", response.text)


async def test_every_answer_is_as_openai_has_it(figure: Any) -> None:
    random_requests = drawn(Random(7))
    requests = [*tabled(), *failing(), *(next(random_requests) for _ in range(200))]

    responses = [response for asked in requests for response in await answers(asked)]
    responses += await elsewhere()

    found = [p for r in responses for p in departures(r.request.url.path, r)]
    assert found == []
    distinct = {essence(response) for response in responses}
    chunks = sum(len(events(response)) for response in responses if is_stream(response))
    held_to = "OpenAI's schema and its SDK" if openai_spec.PATH.exists() else "OpenAI's SDK"
    figure(
        f"{len(distinct)} distinct responses with {chunks} events held to {held_to}: "
        f"{len(found)} violations"
    )
    assert len(distinct) >= 500


@pytest.mark.parametrize(
    "broken",
    [
        {"object": "chat.completion"},
        {"id": "x", "object": "chat.completion", "created": "now", "model": "m", "choices": []},
        {"error": {"message": "m", "type": "t", "param": None, "code": 400}},
    ],
    ids=["nothing else", "a time that is text", "a code that is a number"],
)
def test_an_answer_that_is_not_openais_is_found_out(broken: Any) -> None:
    status = 400 if "error" in broken else 200

    assert list(departures(CHAT_PATH, httpx.Response(status, json=broken)))
