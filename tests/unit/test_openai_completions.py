import json
import math
from typing import Any

import httpx
import pytest

from gateway.errors import EngineFailure
from gateway.generation import Delta, Item, PromptLogprobs
from tests.fakes import FakeEngine, length, stop, text
from tests.wire import client, events


async def post(engine: FakeEngine, **fields: Any) -> httpx.Response:
    async with client(engine) as http:
        return await http.post("/v1/completions", json={"model": "tiny", "prompt": "Hi"} | fields)


async def chunks(engine: FakeEngine, **fields: Any) -> list[Any]:
    return events(await post(engine, stream=True, **fields))


async def test_a_prompt_is_sent_as_it_is_and_continued() -> None:
    engine = FakeEngine([text(" th"), text("ere"), length()])

    body = (await post(engine)).json()

    assert engine.requests[0].prompt.token_ids == tuple(b"Hi")
    assert body["object"] == "text_completion"
    assert body["choices"] == [
        {"index": 0, "text": " there", "logprobs": None, "finish_reason": "length"}
    ]
    assert body["usage"]["total_tokens"] == 2 + 6


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("ab", [b"ab"]),
        (["ab", "c"], [b"ab", b"c"]),
        ([97, 98], [b"ab"]),
        ([[97], [98, 99]], [b"a", b"bc"]),
    ],
    ids=["text", "texts", "ids", "lists of ids"],
)
async def test_all_four_forms_of_prompt_are_read(prompt: Any, sent: list[bytes]) -> None:
    engine = FakeEngine([text("x"), stop()])

    body = (await post(engine, prompt=prompt)).json()

    assert sorted(bytes(r.prompt.token_ids) for r in engine.requests) == sorted(sent)
    assert [choice["index"] for choice in body["choices"]] == list(range(len(sent)))


async def test_choices_of_several_prompts_are_numbered_in_their_order() -> None:
    engine = FakeEngine([text("a", 0), text("b", 1), stop(2)])

    body = (await post(engine, prompt=["x", "y"], n=2)).json()

    assert [(c["index"], c["text"]) for c in body["choices"]] == [
        (0, "a"),
        (1, "b"),
        (2, "a"),
        (3, "b"),
    ]


async def test_echo_repeats_the_prompt() -> None:
    body = (await post(FakeEngine([text("!"), stop()]), echo=True)).json()

    assert body["choices"][0]["text"] == "Hi!"


async def test_nothing_is_generated_for_zero_tokens_with_echo() -> None:
    engine = FakeEngine()

    body = (await post(engine, echo=True, max_tokens=0)).json()

    assert body["choices"][0]["text"] == "Hi"
    assert body["choices"][0]["finish_reason"] == "length"
    assert not engine.requests


async def test_logprobs_tell_tokens_and_where_they_stand() -> None:
    engine = FakeEngine([Delta(0, list(b"ab"), [-0.5, -1.5]), stop()])

    body = (await post(engine, logprobs=0)).json()

    assert body["choices"][0]["logprobs"] == {
        "tokens": ["a", "b"],
        "token_logprobs": [-0.5, -1.5],
        "top_logprobs": [{"a": -0.5}, {"b": -1.5}],
        "text_offset": [0, 1],
    }


async def test_an_echoed_prompt_is_told_of_token_by_token() -> None:
    prompt = PromptLogprobs([-0.25], [[(105, -0.25), (106, -1.5)]])
    script: list[Item] = [Delta(0, list(b"!"), [-2.0], [[(33, -2.0)]], prompt), stop(2)]
    engine = FakeEngine(script)

    body = (await post(engine, logprobs=2, echo=True, n=2)).json()

    before: dict[str, list[Any]] = {
        "tokens": ["H", "i"],
        "token_logprobs": [0.0, -0.25],
        "top_logprobs": [{}, {"i": -0.25, "j": -1.5}],
        "text_offset": [0, 1],
    }
    after: dict[str, list[Any]] = {
        "tokens": ["!"],
        "token_logprobs": [-2.0],
        "top_logprobs": [{"!": -2.0}],
        "text_offset": [2],
    }
    assert engine.requests[0].num_prompt == 2
    assert [choice["text"] for choice in body["choices"]] == ["Hi!", "Hi"]
    first, second = (choice["logprobs"] for choice in body["choices"])
    assert first == {name: before[name] + after[name] for name in before}
    assert second == before


async def test_prompts_too_long_to_be_told_of_are_refused() -> None:
    engine = FakeEngine()

    response = await post(engine, prompt="x" * 200, logprobs=0, echo=True, n=100)

    assert response.status_code == 400
    assert "would tell of 20,000 tokens" in response.json()["error"]["message"]
    assert not engine.requests


async def test_the_best_of_several_is_the_likeliest_per_token() -> None:
    script: list[Item] = [Delta(0, list(b"ab"), [-3, -3]), Delta(1, list(b"c"), [-1]), stop(2)]

    body = (await post(FakeEngine(script), best_of=2)).json()

    assert [(c["index"], c["text"]) for c in body["choices"]] == [(0, "c")]
    assert body["choices"][0]["logprobs"] is None


async def test_the_best_of_several_is_never_one_that_says_nothing() -> None:
    script: list[Item] = [Delta(0, list(b"Paris"), [-9.0] * 5), stop(2)]

    body = (await post(FakeEngine(script), best_of=2, echo=True)).json()

    assert body["choices"][0]["text"].endswith("Paris")


@pytest.mark.parametrize("logprob", [-math.inf, math.nan, math.inf, -1e9])
async def test_a_log_probability_that_json_cannot_write_is_openais_lowest(logprob: float) -> None:
    engine = FakeEngine([Delta(0, list(b"a"), [logprob]), stop()])

    body = (await post(engine, logprobs=0)).json()

    assert body["choices"][0]["logprobs"]["token_logprobs"] == [-9999.0]


async def test_a_stream_numbers_its_chunks_and_ends_with_done() -> None:
    engine = FakeEngine([text("a"), stop()])

    *parsed, usage, done = await chunks(
        engine, prompt=["x", "y"], stream_options={"include_usage": True}
    )

    texts = {0: "", 1: ""}
    for chunk in parsed:
        assert chunk["usage"] is None
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == {0: "a", 1: "a"}
    assert usage["usage"]["completion_tokens"] == 2
    assert done == "[DONE]"


async def test_one_failing_prompt_fails_the_request_and_closes_the_others() -> None:
    engine = FakeEngine([EngineFailure("It broke.")])

    response = await post(engine, prompt=["x", "y", "z"])

    assert response.status_code == 500
    assert engine.closed == len(engine.requests)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "x"}, "suffix"),
        ({"prompt": ["a"] * 52, "best_of": 20}, "prompt"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [300]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
async def test_a_bad_parameter_is_named(fields: dict[str, Any], param: str) -> None:
    response = await post(FakeEngine([stop()]), **fields)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
