import json
from typing import Any

import httpx
import pytest

from gateway.engine import Feature
from gateway.errors import EngineFailure, EngineTimeout, Overloaded
from gateway.origin import origin
from tests.fakes import IM_END, FakeEngine, length, stop, text
from tests.wire import client, events

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


async def post(engine: FakeEngine, **fields: Any) -> httpx.Response:
    async with client(engine) as http:
        return await http.post("/v1/chat/completions", json=HELLO | fields)


async def chunks(engine: FakeEngine, **fields: Any) -> list[Any]:
    """Return the parsed data of every event of a stream; [DONE] as it is."""
    response = await post(engine, stream=True, **fields)
    assert response.headers["content-type"].startswith("text/event-stream")
    return events(response)


async def test_deltas_are_joined_into_one_answer() -> None:
    engine = FakeEngine([text("Hel"), text("lo"), stop()])

    body = (await post(engine)).json()

    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"]["completion_tokens"] == 5
    assert body["usage"]["prompt_tokens"] == len(engine.requests[0].prompt.token_ids)


async def test_a_stream_opens_with_the_role_and_closes_with_done() -> None:
    engine = FakeEngine([text("Hel"), text("lo"), stop()])

    first, *middle, last, done = await chunks(engine)

    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [c["choices"][0]["delta"]["content"] for c in middle] == ["Hel", "lo"]
    assert [c["choices"][0]["finish_reason"] for c in (first, *middle, last)] == [
        *[None] * 3,
        "stop",
    ]
    assert done == "[DONE]"


async def test_all_chunks_share_id_and_creation_time() -> None:
    *parsed, _ = await chunks(FakeEngine([text("a"), text("b"), stop()]))

    assert len({(chunk["id"], chunk["created"]) for chunk in parsed}) == 1


async def test_usage_comes_in_a_last_chunk_and_is_null_before() -> None:
    engine = FakeEngine([text("ab"), stop(cached_tokens=3)])

    *parsed, last, _ = await chunks(engine, stream_options={"include_usage": True})

    assert [chunk["usage"] for chunk in parsed] == [None] * 3
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 2
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}


async def test_usage_is_absent_unless_asked_for() -> None:
    *parsed, _ = await chunks(FakeEngine([text("ab"), stop()]))

    assert not any("usage" in chunk for chunk in parsed)


async def test_continuous_usage_counts_up() -> None:
    engine = FakeEngine([text("a"), text("b"), stop()])
    options = {"include_usage": True, "continuous_usage_stats": True}

    role, first, second, *_ = await chunks(engine, stream_options=options)

    told = [chunk["usage"]["completion_tokens"] for chunk in (role, first, second)]
    assert told == [0, 1, 2]
    assert role["usage"]["prompt_tokens"] == len(engine.requests[0].prompt.token_ids)


async def test_a_stream_for_functions_has_a_function_call_in_pieces() -> None:
    call = '{"name": "weather", "parameters": {"city": "Paris"}}'
    engine = FakeEngine([*(text(char) for char in call), stop()])

    _, begin, *pieces, end, done = await chunks(engine, functions=[{"name": "weather"}])

    assert begin["choices"][0]["delta"] == {"function_call": {"name": "weather", "arguments": ""}}
    parts = [piece["choices"][0]["delta"]["function_call"]["arguments"] for piece in pieces]
    assert "".join(parts) == '{"city": "Paris"}'
    assert end["choices"][0]["finish_reason"] == "function_call"
    assert done == "[DONE]"


async def test_an_answer_cut_at_its_limit_says_length() -> None:
    body = (await post(FakeEngine([text("ab"), length()]), max_tokens=2)).json()

    assert body["choices"][0]["finish_reason"] == "length"


async def test_a_refusal_before_the_first_delta_keeps_its_status_in_a_stream() -> None:
    response = await post(FakeEngine([Overloaded("Full.", retry_after_s=2)]), stream=True)

    assert response.status_code == 429
    assert response.headers["retry-after"] == "2"
    assert response.headers["x-should-retry"] == "true"
    assert response.json()["error"] == {
        "message": "Full.",
        "type": "rate_limit_error",
        "param": None,
        "code": "overloaded",
    }


async def test_a_failure_in_mid_stream_is_one_error_event_without_done() -> None:
    engine = FakeEngine([text("a"), EngineFailure("It broke.")])

    *_, last = await chunks(engine)

    assert last["error"]["code"] == "engine_failure"


@pytest.mark.parametrize("come", [0, 2])
async def test_a_deadline_that_cuts_a_whole_answer_says_how_much_had_come(come: int) -> None:
    engine = FakeEngine([*[text("a")] * come, EngineTimeout("Too late.")])

    response = await post(engine)

    error = response.json()["error"]
    assert response.status_code == 504
    assert response.headers["x-should-retry"] == "false"
    assert f"{come} had come" in error["message"]
    assert "'max_tokens'" in error["message"]


async def test_a_deadline_that_cuts_a_stream_says_how_much_had_come() -> None:
    *_, last = await chunks(FakeEngine([text("ab"), EngineTimeout("Too late.")]))

    assert "2 had come" in last["error"]["message"]


async def test_a_stop_string_ends_the_generation_at_once() -> None:
    engine = FakeEngine([text("one E"), text("ND two"), text("never read")], hangs=True)

    body = (await post(engine, stop="END")).json()

    assert body["choices"][0]["message"]["content"] == "one "
    assert body["choices"][0]["finish_reason"] == "stop"
    assert engine.closed == 1


async def test_several_choices_are_interleaved_by_index() -> None:
    engine = FakeEngine([text("a", 0), text("x", 1), text("b", 0), text("y", 1), stop(2)])

    body = (await post(engine, n=2)).json()

    assert [choice["message"]["content"] for choice in body["choices"]] == ["ab", "xy"]
    assert engine.requests[0].num_sequences == 2


async def test_the_engine_is_told_the_end_tokens_and_the_room_that_is_left() -> None:
    engine = FakeEngine([stop()])

    await post(engine)

    generation = engine.requests[0]
    assert generation.end_ids == (IM_END,)
    assert generation.max_tokens == 1000 - len(generation.prompt.token_ids)


async def test_a_prompt_without_room_for_an_answer_is_refused_with_both_numbers() -> None:
    engine = FakeEngine(max_model_len=20)

    error = (await post(engine, messages=[{"role": "user", "content": "x" * 100}])).json()["error"]

    assert error["code"] == "context_length_exceeded"
    assert "20" in error["message"]
    assert not engine.requests


async def test_token_ids_are_returned_when_asked_for() -> None:
    engine = FakeEngine([text("ab"), stop()])

    body = (await post(engine, return_token_ids=True)).json()

    assert body["choices"][0]["token_ids"] == list(b"ab")
    assert body["prompt_token_ids"] == list(engine.requests[0].prompt.token_ids)


@pytest.mark.parametrize(
    ("fields", "param", "status"),
    [
        ({"model": "other"}, "model", 404),
        ({"messages": []}, "messages", 400),
        ({"messages": [{"role": "user"}]}, "messages[0].content", 400),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", 400),
        ({"temperature": 2.1}, "temperature", 400),
        ({"temperature": "1"}, "temperature", 400),
        ({"stop": ["a"] * 65}, "stop", 400),
        ({"stop": ""}, "stop", 400),
        ({"stream_options": {"include_usage": True}}, "stream_options", 400),
        ({"max_tokens": 0}, "max_tokens", 400),
        ({"logit_bias": {"9999": 1}}, "logit_bias", 400),
        ({"audio": {"voice": "x"}}, "audio", 400),
        ({"tool_choice": "required"}, "tool_choice", 400),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
async def test_a_bad_parameter_is_named(fields: dict[str, Any], param: str, status: int) -> None:
    response = await post(FakeEngine([stop()]), **fields)

    assert response.status_code == status
    assert response.json()["error"]["param"] == param
    assert isinstance(response.json()["error"]["code"], str)


@pytest.mark.parametrize(
    "fields",
    [{"top_logprobs": 1}, {"top_logprobs": 2, "temperature": 0}],
    ids=["sampled", "more than the chosen"],
)
async def test_the_likeliest_are_not_made_up_where_the_engine_does_not_tell(
    fields: dict[str, Any],
) -> None:
    engine = FakeEngine([stop()])
    engine.features = frozenset(Feature) - {Feature.TOP_LOGPROBS}

    response = await post(engine, logprobs=True, **fields)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "top_logprobs"
    assert response.json()["error"]["code"] == "unsupported_parameter"


async def test_unknown_parameters_and_nulls_are_ignored() -> None:
    response = await post(FakeEngine([stop()]), no_such_field=1, temperature=None, stop=None)

    assert response.status_code == 200


async def test_a_body_that_is_not_json_is_a_400() -> None:
    async with client(FakeEngine()) as http:
        response = await http.post("/v1/chat/completions", content=b"{")

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("GET", "/v1/models/other", 404, "model_not_found"),
    ],
)
async def test_paths_fail_in_openai_form(method: str, path: str, status: int, code: str) -> None:
    async with client(FakeEngine()) as http:
        response = await http.request(method, path)

    assert response.status_code == status
    assert response.json()["error"]["code"] == code


async def test_a_bug_is_a_500_that_tells_nothing_but_has_an_id() -> None:
    class Broken(FakeEngine):
        async def generate(self, generation: Any) -> Any:
            raise ZeroDivisionError("secret detail")
            yield

    response = await post(Broken())

    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["x-request-id"]


async def test_models_go_by_id_and_alias() -> None:
    async with client(FakeEngine()) as http:
        listed = (await http.get("/v1/models")).json()
        by_alias = (await http.get("/v1/models/tiny-alias")).json()

    assert [model["id"] for model in listed["data"]] == ["tiny"]
    assert by_alias == listed["data"][0]
    assert by_alias["max_model_len"] == 1000


async def test_a_sane_request_id_is_kept_and_another_replaced() -> None:
    async with client(FakeEngine()) as http:
        kept = await http.get("/health/live", headers={"x-request-id": "abc-1"})
        replaced = await http.get("/health/live", headers={"x-request-id": "no spaces please"})

    assert kept.headers["x-request-id"] == "abc-1"
    assert len(replaced.headers["x-request-id"]) == 32


async def test_ids_and_trace_context_of_a_request_go_on_to_its_engine() -> None:
    came: list[Any] = []

    class Watched(FakeEngine):
        async def generate(self, generation: Any) -> Any:
            came.append(origin.get().metadata)
            yield stop()

    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with client(Watched()) as http:
        headers = {"x-request-id": "abc-1", "traceparent": trace}
        await http.post("/v1/chat/completions", json=HELLO, headers=headers)

    assert came == [(("x-request-id", "abc-1"), ("traceparent", trace))]


@pytest.mark.parametrize(
    "answer",
    [
        '{"steps":[{"name":"weather","parameters":{"city":"Paris"}}]}',
        '{\n  "steps": [\n    {"name": "weather", "parameters": {"city": "Paris"}}\n  ]\n}',
        '{"name":"Ada","parameters":{"city":"Paris"}}',
        '{"name":"weather","steps":[]}',
    ],
    ids=["within", "within, on lines of its own", "of no tool", "with other keys"],
)
async def test_what_reads_like_a_call_within_a_form_is_text(answer: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "plan", "schema": {"type": "object"}}}
    tools = [{"type": "function", "function": {"name": "weather"}}]
    engine = FakeEngine([text(answer), stop()])

    [choice] = (await post(engine, tools=tools, response_format=form)).json()["choices"]

    assert choice["message"]["content"] == answer
    assert choice["finish_reason"] == "stop"
